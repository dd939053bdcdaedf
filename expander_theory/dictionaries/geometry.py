"""Geometry of a dictionary: flatness, coherence, Babel function, overlaps, and what they certify."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.expansion.graph import Graph, entries
from expander_theory._kernels.expansion.pairs import dense_gram_sums, largest_gram_sums, overlap_histograms
from expander_theory.base import require, require_int
from expander_theory.dictionaries.block_dictionary import BlockDictionary
from expander_theory.dictionaries.dictionary import Dictionary, Floats
from expander_theory.dictionaries.kinds import AnyDictionary, without_blocks
from expander_theory.masks import Mask

MARGIN = 1e-9
"""Float comparisons with a strict threshold are decided with this margin (THEORY.md section 0, Numerics)."""


def flatness(dictionary: AnyDictionary) -> Floats:
    """C_j = sqrt(d) ||w_j||_inf / ||w_j||_2 in [1, sqrt d] for every column, shape (n,), float64; d = m where dense."""
    if isinstance(dictionary, BlockDictionary):
        return np.concatenate([flatness(dictionary.dense), flatness(dictionary.masked)])
    largest = np.abs(dictionary.values).max(axis=1).astype(np.float64)
    return np.sqrt(dictionary.d) * largest / dictionary.column_norms


def babel(dictionary: AnyDictionary, size: int) -> Floats:
    """The Babel function mu_1(1), ..., mu_1(size): the largest sum of k moduli |G_jl|, l != j, in a row of G.

    Columns are taken at unit norm. O(sum_i D_i^2) for a masked dictionary (D_i the row degrees), O(n^2 m) for others.

    Raises:
        InvalidArgument: size outside 1..n-1.
    """
    size = require_int("size", size)
    require(1 <= size < dictionary.n, "size", size, f"must be between 1 and n - 1 = {dictionary.n - 1}")
    unit = without_blocks(dictionary.astype(np.float64).normalised())
    if isinstance(unit, Dictionary):
        return largest_gram_sums(entries(unit.mask.rows, unit.values, unit.mask.row_lists), size)
    sums = np.zeros(size)
    block = max(1, 2**24 // unit.n)
    for first in range(0, unit.n, block):
        dense_gram_sums(np.abs(unit.columns[first : first + block] @ unit.columns.T), first, sums)
    return sums


def coherence(dictionary: AnyDictionary) -> float:
    """Mutual coherence mu = max_{j != l} |G_jl| of the unit-norm columns; 0 for a single column."""
    return float(babel(dictionary, 1)[0]) if dictionary.n > 1 else 0.0


def coherence_certified_k(mu: float) -> int:
    """Largest k with mu < 1/(2k - 1): OMP recovers every k-sparse code (THEORY.md OMP-2).

    mu below 1e-9 (orthogonal columns) gives 2^31 - 1. Decided with the margin :data:`MARGIN`.
    """
    if mu < 1e-9:
        return 2**31 - 1
    k = int((1 / mu + 1) / 2)
    while k >= 1 and not mu * (2 * k - 1) < 1 - MARGIN:
        k -= 1
    return k


_Size = TypeVar("_Size", int, NDArray[np.int64])
_Sum = TypeVar("_Sum", float, Fraction, Floats)


def consecutive_sums(sums: Callable[[_Size], _Sum], k: _Size) -> _Sum:
    """The left side of OMP-3, mu_1(k) + mu_1(k - 1): below 1, OMP recovers every k-sparse code of unit columns.

    With sums of |<w_j, w_l>| as they are, compared with the least ||w_j||_2^2 instead of 1, nothing is divided: the
    form for exact arithmetic, and the condition of L1-ERC; the dynamic range times it is that of TOPK-1. Every place
    that decides OMP-3 takes its left side from here, except the checker of certificates, which shares no code. Source:
    Tropp 2004, Theorem 3.5; THEORY.md OMP-3.

    Args:
        sums: the largest sum of so many moduli in a row of the Gram matrix without its diagonal; 0 for 0.
        k: one sparsity or several, at least 1.
    """
    return sums(k) + sums(k - 1)


def babel_certified_k(dictionary: AnyDictionary) -> int:
    """Largest k with mu_1(k) + mu_1(k - 1) < 1: OMP recovers *every* k-sparse code exactly.

    Source: Tropp 2004; THEORY.md OMP-3. Decided in float64 with the margin :data:`MARGIN`. At
    most n, with mu_1(n) = mu_1(n - 1): a row of G has no more entries.
    """
    n = dictionary.n
    if n == 1:
        return 1
    size = min(64, n - 1)
    while True:
        mu = np.concatenate([[0.0], babel(dictionary, size)])
        if size == n - 1:
            mu = np.append(mu, mu[-1])
        met = np.nonzero(consecutive_sums(mu.__getitem__, np.arange(1, len(mu))) < 1 - MARGIN)[0]
        largest = int(met[-1]) + 1 if met.size else 0
        if largest < size or size == n - 1:
            return largest
        size = min(2 * size, dictionary.n - 1)


def overlap_counts(mask: Mask) -> NDArray[np.int64]:
    """counts[o] = number of unordered column pairs with |N(j) cap N(l)| = o, for o = 0..d."""
    counts = column_overlaps(mask).sum(axis=0, dtype=np.int64) // 2
    counts[0] = mask.n * (mask.n - 1) // 2 - counts[1:].sum()
    return counts


def column_overlaps(mask: Mask) -> NDArray[np.int32]:
    """histogram[j, o] = number of columns that share exactly o >= 1 rows with column j, shape (n, d + 1).

    ``histogram[:, 0]`` is left at zero. O(sum_i D_i^2) time.
    """
    return overlap_histograms(Graph(mask.rows, *mask.row_lists))
