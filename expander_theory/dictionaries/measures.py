"""Summaries of masks and dictionaries as plain rows, for tables and ledgers."""

from __future__ import annotations

from typing import Any

import numpy as np

from expander_theory.dictionaries.block_dictionary import BlockDictionary
from expander_theory.dictionaries.expansion import attack_expansion, expansion_profile
from expander_theory.dictionaries.geometry import (
    babel,
    babel_certified_k,
    coherence_certified_k,
    flatness,
    overlap_counts,
)
from expander_theory.dictionaries.kinds import AnyDictionary
from expander_theory.dictionaries.limits import least_possible_eps, mask_eps_lower_bound
from expander_theory.dictionaries.spectral import spectral_neighbours
from expander_theory.masks import Mask


def mask_measures(mask: Mask) -> dict[str, Any]:
    """Sizes, row degrees and the overlap distribution (pairs of columns by shared rows)."""
    counts = overlap_counts(mask)
    largest = int(np.nonzero(counts)[0][-1]) if counts.any() else 0
    return {
        "m": mask.m,
        "n": mask.n,
        "d": mask.d,
        "recipe": mask.recipe,
        "sha256": mask.sha256,
        "row degree, least": int(mask.row_degrees.min()),
        "row degree, largest": int(mask.row_degrees.max()),
        "largest overlap": largest,
        "pairs by overlap": {str(o): int(counts[o]) for o in range(largest + 1)},
    }


def dictionary_measures(dictionary: AnyDictionary) -> dict[str, Any]:
    """Flatness, coherence, the first values of the Babel function, and the k that they certify for OMP."""
    flat = flatness(dictionary)
    sums = babel(dictionary, min(4, dictionary.n - 1)) if dictionary.n > 1 else np.zeros(1)
    parts = (dictionary.dense, dictionary.masked) if isinstance(dictionary, BlockDictionary) else (dictionary,)
    return {
        "m": dictionary.m,
        "n": dictionary.n,
        **({"dense columns r": parts[0].n} if len(parts) == 2 else {}),
        "d": parts[-1].d,
        "decoder values": sum(int(part.values.size) for part in parts),
        "flatness C, mean": float(flat.mean()),
        "flatness C, largest": float(flat.max()),
        "coherence mu": float(sums[0]),
        "Babel mu_1(1..)": [round(float(s), 6) for s in sums],
        "k certified by coherence (OMP-2)": min(coherence_certified_k(float(sums[0])), dictionary.n),
        "k certified by Babel (OMP-3)": babel_certified_k(dictionary),
    }


def expansion_rows(mask: Mask, max_size: int, *, time_limit: float) -> list[dict[str, Any]]:
    """One row a size: bounds on the ratio, and what they are."""
    rows = []
    for size in expansion_profile(mask, max_size, time_limit=time_limit).sizes:
        edges = mask.d * size.size
        rows.append(
            {
                "size": size.size,
                "lower": size.lower / edges,
                "upper": size.upper / edges,
                "status": "exact" if size.exact else "lower: proved, upper: found",
                "witness": " ".join(map(str, size.witness)),
            }
        )
    return rows


def expansion_bounds(mask: Mask, max_size: int, *, time_limit: float) -> list[dict[str, Any]]:
    """:func:`expansion_rows`, with what other bounds say of the least share |N(S)| / (d |S|) of each size.

    ``attack`` is the least share that a search by greedy sets and swaps finds, ``spectral`` the better of the lower
    bounds EXP-5 (a) and (b), ``this mask at most`` an upper bound from its row degrees, and ``any mask at most`` one of
    all masks of the shape (EXP-7).
    """
    rows = expansion_rows(mask, max_size, time_limit=time_limit)
    attacked = attack_expansion(mask, [row["size"] for row in rows], seed=0, restarts=2)
    for row, found in zip(rows, attacked, strict=True):
        s, edges = row["size"], mask.d * row["size"]
        row["attack"] = 1 - found.loss / edges
        row["spectral"] = max(spectral_neighbours(mask, s, form=form) for form in ("a", "b")) / edges
        row["this mask at most"] = float(1 - mask_eps_lower_bound(mask, s))
        row["any mask at most"] = float(1 - least_possible_eps(mask.m, mask.n, mask.d, s))
        for name in ("status", "witness"):
            row[name] = row.pop(name)  # last
    return rows
