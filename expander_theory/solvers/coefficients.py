"""What a given dictionary guarantees for given supports (OMP), and for given dynamic ranges (the TopK encoder)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory._kernels.expansion.coefficients import gram_row_sums, largest_l1, least_range
from expander_theory._kernels.expansion.graph import entries
from expander_theory.base import InvalidArgument, require, require_int
from expander_theory.dictionaries import (
    MARGIN,
    AnyDictionary,
    DenseDictionary,
    Dictionary,
    Floats,
    without_blocks,
)
from expander_theory.solvers.recovery import require_unit_columns

SINGULAR = 1e-10
"""W_S counts as rank deficient where the least eigenvalue of W_S^T W_S is below this."""


def exact_recovery_coefficients(dictionary: AnyDictionary, supports: ArrayLike) -> NDArray[np.float64]:
    """ERC(S) = max_{j notin S} ||W_S^+ w_j||_1 of each support; below 1 OMP recovers *every* code on it.

    Source: Tropp 2004; THEORY.md OMP-1, AVG-2. O(k d n) a support.

    Args:
        dictionary: unit columns.
        supports: (batch, k) column indices, distinct in a row.

    Returns:
        float64 (batch,); infinity where W_S is rank deficient.

    Raises:
        InvalidArgument: indices out of range or repeated, or columns that are not of unit norm.
    """
    require_unit_columns(dictionary)
    chosen = np.atleast_2d(np.asarray(supports))
    require(np.issubdtype(chosen.dtype, np.integer) and chosen.size > 0, "supports", chosen.dtype, "must be integers")
    require(chosen.ndim == 2, "supports", f"array of shape {chosen.shape}", "must have shape (batch, k) or (k,)")
    n = dictionary.n
    inside = bool(((chosen >= 0) & (chosen < n)).all())
    require(inside, "supports", f"array with entries {chosen.min()}..{chosen.max()}", f"must lie in 0..{n - 1}")
    distinct = all(np.unique(row).size == row.size for row in chosen)
    require(distinct, "supports", "array with a repeated column in a row", "must be distinct in each row")
    out = np.full(len(chosen), np.inf)
    typed = without_blocks(dictionary.astype(np.float64))
    for b, support in enumerate(chosen):
        atoms = _columns(typed, support)
        lowest = np.linalg.eigvalsh(atoms.T @ atoms)[0] if support.size <= dictionary.m else 0.0
        if lowest > SINGULAR:
            inverse = np.ascontiguousarray(np.linalg.pinv(atoms).T)
            member = np.zeros(n, np.bool_)
            member[support] = True
            if isinstance(typed, Dictionary):
                out[b] = largest_l1(typed.mask.rows, typed.values, inverse, member)
            else:
                sums = np.abs(typed.columns @ inverse).sum(axis=1)
                out[b] = sums[~member].max(initial=0.0)
    return out


def _columns(dictionary: Dictionary | DenseDictionary, support: NDArray[np.integer]) -> Floats:
    if not isinstance(dictionary, Dictionary):
        return dictionary.columns[support].T
    out = np.zeros((dictionary.m, support.size))
    out[dictionary.mask.rows[support], np.arange(support.size)[:, None]] = dictionary.values[support]
    return out


@dataclass(frozen=True)
class RangeThreshold:
    """R*_k, known to lie in [low, high]; equal when the search was finished."""

    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether every pair of columns was decided."""
        return self.low == self.high


def range_threshold(dictionary: Dictionary, k: int, *, time_limit: float = 10.0) -> RangeThreshold:
    """R*_k: the tied TopK encoder is right on all k-sparse codes of smaller dynamic range, and on no larger class.

    R*_k = min over columns i != j and tau = +-1 of (1 - tau G_ij)/(sum of the k-1 largest |G_il - tau G_jl|), l notin
    {i, j}; infinite for k = 1, and 0 for every k where two columns are parallel. Pairs are visited by decreasing Babel
    sums and left out where a bound shows that they are not the least. Float64. Source: THEORY.md TOPK-1.

    Args:
        dictionary: unit columns, masked.
        k: 1..n-1.
        time_limit: seconds; what is open then is an interval.

    Raises:
        InvalidArgument: k out of range, a negative time limit, or columns that are not of unit norm.
    """
    k = require_int("k", k)
    require(1 <= k < dictionary.n, "k", k, f"must be between 1 and n - 1 = {dictionary.n - 1}")
    require(time_limit >= 0, "time_limit", time_limit, "must be at least 0 seconds")
    return _least_range(_Pairs(dictionary), k, math.inf, time_limit)


def range_certified_k(dictionary: Dictionary, dynamic_range: float = 1.0, *, time_limit: float = 10.0) -> int:
    """Largest k for which R*_k > dynamic_range is proved: the tied TopK encoder is right up to there.

    Decided in float64 with the margin :data:`expander_theory.dictionaries.MARGIN`.

    Args:
        time_limit: seconds for each k; where they do not suffice, k does not count as proved.

    Raises:
        InvalidArgument: dynamic_range below 1, or as :func:`range_threshold`.
    """
    require(dynamic_range >= 1, "dynamic_range", dynamic_range, "must be at least 1")
    require(time_limit >= 0, "time_limit", time_limit, "must be at least 0 seconds")
    pairs, needed = _Pairs(dictionary), dynamic_range * (1 + MARGIN)
    k = 0
    while k + 1 < dictionary.n and _least_range(pairs, k + 1, needed, time_limit).low >= needed:
        k += 1
    return k


class _Pairs:
    """The unit dictionary as the pair loops take it."""

    def __init__(self, dictionary: AnyDictionary) -> None:
        if not isinstance(dictionary, Dictionary):
            kind = "dense" if isinstance(dictionary, DenseDictionary) else "of blocks"
            raise InvalidArgument("dictionary", kind, "must be a masked dictionary")
        require_unit_columns(dictionary)
        unit = dictionary.astype(np.float64).normalised()
        self.n = unit.n
        self.entries = entries(unit.mask.rows, unit.values, unit.mask.row_lists)


def _least_range(pairs: _Pairs, k: int, below: float, time_limit: float) -> RangeThreshold:
    """R*_k where it is less than ``below``; otherwise ``below``, or an interval when time is up."""
    sums, largest = gram_row_sums(pairs.entries, max(1, k - 1))
    mu = float(largest.max())
    if mu >= 1 - MARGIN:
        return RangeThreshold(0.0, 0.0)  # two columns are parallel, and no code tells them apart (0/0 = 0)
    if k == 1:
        return RangeThreshold(below, below)
    order = np.argsort(-sums, kind="stable")
    deadline = time.monotonic() + time_limit
    best, first, finished = below, 0, False
    while not finished:
        last = min(pairs.n, first + 16)
        best, finished = least_range(pairs.entries, order, sums, mu, k - 1, first, last, best)
        first = last
        if not finished and time.monotonic() > deadline:
            left = float(sums[order[last]])  # every pair left has both sums at most this
            return RangeThreshold(min(float(best), (1 - mu) / (2 * left) if left > 0 else math.inf), float(best))
        if below < math.inf and best < below:
            return RangeThreshold(0.0, float(best))  # R*_k < below is all that was asked
    return RangeThreshold(float(best), float(best))
