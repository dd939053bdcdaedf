"""What the conclusions measure, on small dictionaries: slow, obvious, independent of the solvers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from flint import fmpq, fmpq_mat
from numpy.typing import NDArray

from expander_theory.base import require
from expander_theory.dictionaries import Floats
from expander_theory.theorems.case import Case

INDEPENDENT = 2**31
"""The spark of independent columns: larger than any number of columns."""

SINGULAR = 1e-10
"""An eigenvalue of W_S^T W_S below this, relative to the largest, counts as zero."""


# ---- ranks, exactly


def rank(columns: Iterable[Iterable[Fraction | int]]) -> int:
    """Rank over the rationals of vectors given by their entries."""
    entries = [[fmpq(f.numerator, f.denominator) for f in map(Fraction, column)] for column in columns]
    return fmpq_mat(entries).rank() if entries else 0


def case_rank(case: Case, chosen: Iterable[int]) -> int:
    """Exact rank of the chosen columns (scaling columns does not change it)."""
    return rank(case.exact_columns(tuple(int(j) for j in chosen)))


def least_singular_value(case: Case, size: int) -> float:
    """min over |S| = size of sigma_min(W_S) for unit columns; exactly 0 where the exact rank is deficient.

    Where the rank is full but floats cannot tell (below 1e-4), at least 1e-8: full rank is what counts.
    """
    size = min(size, case.n)
    if size > case.m:
        return 0.0
    unit = case.W / np.linalg.norm(case.W, axis=0)
    sets = case.sets(size)
    grams = (unit.T @ unit)[sets[:, :, None], sets[:, None, :]]
    lowest = np.sqrt(np.maximum(np.linalg.eigvalsh(grams)[:, 0], 0))
    for i in np.argsort(lowest):
        if lowest[i] > 1e-4:
            break
        if case_rank(case, sets[i]) < size:
            return 0.0
        lowest[i] = max(lowest[i], 1e-8)  # full rank, however badly conditioned
    return float(lowest.min())


def spark(case: Case) -> int:
    """Least number of dependent columns; :data:`INDEPENDENT` if all are independent (exact)."""
    for size in range(1, case.n + 1):
        if least_singular_value(case, size) == 0.0:
            return size
    return INDEPENDENT


def kernel_vector(case: Case, chosen: Iterable[int]) -> Floats | None:
    """A nonzero v supported on the chosen columns with W v = 0, exact up to its conversion to floats; or None."""
    chosen = tuple(int(j) for j in chosen)
    columns = case.exact_columns(chosen)
    matrix = fmpq_mat([[fmpq(f.numerator, f.denominator) for f in row] for row in zip(*columns, strict=True)])
    reduced, found = matrix.rref()
    if found == len(chosen):
        return None
    pivots = [next(j for j in range(len(chosen)) if reduced[i, j] != 0) for i in range(found)]
    free = next(j for j in range(len(chosen)) if j not in pivots)
    v = np.zeros(case.n)
    v[chosen[free]] = 1.0
    for i, j in enumerate(pivots):
        entry = -reduced[i, free]
        v[chosen[j]] = float(Fraction(int(entry.p), int(entry.q)))
    return v


# ---- exact recovery coefficients


def erc(G: Floats, sets: NDArray[np.intp]) -> Floats:
    """ERC(S) = max_{j notin S} ||W_S^+ w_j||_1 for every row S of ``sets``, from the Gram matrix; inf if dependent.

    Raises:
        InvalidArgument: a column that is not there.
    """
    k, n = sets.shape[1], len(G)
    inside = sets.size == 0 or (sets.min() >= 0 and sets.max() < n)
    require(bool(inside), "sets", "array with a column out of range", f"must lie in 0..{n - 1}")
    inner = G[sets[:, :, None], sets[:, None, :]]
    lowest = np.linalg.eigvalsh(inner)
    dependent = lowest[:, 0] <= SINGULAR * lowest[:, -1]
    inner[dependent] = np.eye(k)
    sums = np.abs(np.linalg.solve(inner, G[sets])).sum(axis=1)
    np.put_along_axis(sums, sets, -1.0, axis=1)
    found = np.maximum(sums.max(axis=1), 0.0)  # no column outside where k = n
    found[dependent] = np.inf
    return found


def worst_erc(case: Case, k: int) -> float:
    """max ERC(S) over |S| = k; where it is below 1 and k < n, it is the largest over |S| <= k too (OMP-1m)."""
    return float(erc(case.G, case.sets(k)).max())


# ---- restricted isometry


def rip(case: Case, size: int) -> float:
    """delta_size: the largest |eigenvalue - 1| of W_S^T W_S over |S| = size (all sizes up to it, by interlacing)."""
    sets = case.sets(size)
    values = np.linalg.eigvalsh(case.G[sets[:, :, None], sets[:, None, :]])
    return float(np.abs(values - 1).max())


# ---- matchings


def largest_matching(case: Case, chosen: Iterable[int]) -> int:
    """Most columns of the set that can be matched to different rows of theirs."""
    row_of: dict[int, int] = {}

    def place(j: int, seen: set[int]) -> bool:
        for row in map(int, case.mask.rows[j]):
            if row not in seen:
                seen.add(row)
                if row not in row_of or place(row_of[row], seen):
                    row_of[row] = j
                    return True
        return False

    return sum(place(int(j), set()) for j in chosen)


def subsets_of(items: Iterable[int], least: int = 1) -> Iterable[tuple[int, ...]]:
    """All subsets of at least ``least`` items."""
    kept = tuple(items)
    return itertools.chain.from_iterable(itertools.combinations(kept, size) for size in range(least, len(kept) + 1))
