"""``expander measure``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from expander_theory.base import require
from expander_theory.results import require_new, table, write_json


@dataclass(frozen=True)
class Measure:
    """Measure a mask or dictionary: expansion, overlaps, flatness, and what they certify."""

    file: tyro.conf.Positional[Path]
    """A mask or dictionary saved by `expander build` or `expander sae train`, or a matrix (m, n): .npy, or .npz of
    scipy.sparse."""
    max_size: int = 4
    """Expansion of sets of up to this many columns."""
    time_limit: float = 10.0
    """Seconds for the exact expansion; what is open then is printed as a proved interval."""
    json: Path | None = None
    """Also write everything to this file."""
    force: bool = False
    """Overwrite an existing file."""

    def run(self) -> None:
        from expander_theory.dictionaries import (
            Dictionary,
            dictionary_measures,
            expansion_bounds,
            load_matrix,
            mask_measures,
        )
        from expander_theory.masks import KIND, load_mask
        from expander_theory.results import stored_kind

        if self.json is not None:
            require_new(self.json, self.force)
        result: dict[str, Any] = {}
        dictionary = None
        if self.file.suffix not in (".npy", ".npz") and stored_kind(self.file) == KIND:
            mask = load_mask(self.file)
        else:
            dictionary = load_matrix(self.file)
            mask = dictionary.mask if isinstance(dictionary, Dictionary) else None
        if mask is not None:
            require(1 <= self.max_size <= mask.n, "max-size", self.max_size, f"must be between 1 and n = {mask.n}")
            require(self.time_limit >= 0, "time-limit", self.time_limit, "must be at least 0 seconds")
            result |= mask_measures(mask)
        if dictionary is not None:
            result |= dictionary_measures(dictionary)
        print(table([{"quantity": name, "value": _shown(value)} for name, value in result.items()]))
        if mask is not None:
            result["expansion"] = expansion_bounds(mask, self.max_size, time_limit=self.time_limit)
            print(f"\n{_EXPANSION}\n\n{table(result['expansion'])}")
        if self.json is not None:
            write_json(self.json, result)


_EXPANSION = """\
Expansion: smallest |N(S)| / (d|S|) over sets S of each size, proved between lower and upper. attack: the least that a
search finds. spectral: a lower bound from eigenvalues (EXP-5). at most: what row degrees allow this mask, and the shape
any mask (EXP-7)"""


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
