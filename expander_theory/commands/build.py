"""``expander build``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from expander_theory.commands.output import require_new
from expander_theory.errors import InvalidArgument, require


@dataclass(frozen=True)
class Build:
    """Build a mask, or a dictionary on it, and save it with its content hash."""

    out: tyro.conf.Positional[Path]
    """File to write (safetensors)."""
    m: int | None = None
    """Rows. For --construction polynomial it is d q and may be left out."""
    n: int | None = None
    """Columns. Default for --construction polynomial: all q^r."""
    d: int | None = None
    """Nonzeros per column (left degree), at most m. Not for a dense dictionary."""
    construction: Literal["uniform", "polynomial", "dense"] = "uniform"
    """uniform: independent uniform d-subsets. polynomial: Reed-Solomon over GF(q), overlap at most r - 1.
    dense: no mask, a Gaussian dictionary."""
    q: int | None = None
    """Order of the field, a prime power (polynomial)."""
    r: int | None = None
    """Coefficients of the polynomials, default 2; two columns share at most r - 1 rows (polynomial)."""
    values: Literal["none", "signs", "gaussian", "flat"] = "none"
    """none: save the mask alone. Otherwise the values of a dictionary of unit columns on it."""
    flatness: float | None = None
    """C = sqrt(d) max|w| / ||w|| of every column, between 1 and sqrt(d) (values flat)."""
    seed: int = 0
    """Seed of mask and values."""
    force: bool = False
    """Overwrite an existing file."""

    def run(self) -> None:
        from expander_theory.ensembles import (
            dense_gaussian_dictionary,
            flat_dictionary,
            gaussian_dictionary,
            sign_dictionary,
        )
        from expander_theory.masks import polynomial_mask, save_mask, uniform_mask
        from expander_theory.seeds import require_seed

        require_new(self.out, self.force)
        require_seed(self.seed)
        for name in ("q", "r"):
            given = getattr(self, name)
            require(given is None or self.construction == "polynomial", name, given, "goes with polynomial alone")
        require(self.d is None or self.construction != "dense", "d", self.d, "does not go with a dense dictionary")
        require(self.flatness is None or self.values == "flat", "flatness", self.flatness, "goes with --values flat")
        if self.construction == "dense":
            require(self.values in ("none", "gaussian"), "values", self.values, "must be gaussian when dense")
            dense = dense_gaussian_dictionary(_given("m", self.m), _given("n", self.n), seed=self.seed)
            dense.save(self.out)
            print(f"wrote {self.out}: dense Gaussian dictionary, m = {dense.m}, n = {dense.n}, sha256 {dense.sha256}")
            return
        d = _given("d", self.d)
        if self.construction == "polynomial":
            q = _given("q", self.q)
            require(self.m in (None, d * q), "m", self.m, f"must be d q = {d * q} for the polynomial construction")
            mask = polynomial_mask(q, d, r=2 if self.r is None else self.r, n=self.n)
        else:
            mask = uniform_mask(_given("m", self.m), _given("n", self.n), d, seed=self.seed)
        if self.values == "none":
            save_mask(mask, self.out)
            print(f"wrote {self.out}: {mask}, sha256 {mask.sha256}")
            return
        if self.values == "flat":
            flatness = self.flatness
            if flatness is None:
                raise InvalidArgument("flatness", "not given", "--values flat needs --flatness, 1 to sqrt(d)")
            dictionary = flat_dictionary(mask, flatness=flatness, seed=self.seed)
        else:
            dictionary = (sign_dictionary if self.values == "signs" else gaussian_dictionary)(mask, seed=self.seed)
        dictionary.save(self.out)
        print(f"wrote {self.out}: {self.values} dictionary on {mask}, sha256 {dictionary.sha256}")


def _given(name: str, value: int | None) -> int:
    if value is None:
        raise InvalidArgument(name, "not given", f"this construction needs --{name}")
    return value
