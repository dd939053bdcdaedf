"""When a code is the only one so sparse: for all codes of a sparsity, and for those on one support."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.guarantees.supports import uncoverable
from expander_theory.dictionaries import MARGIN, AnyDictionary, Dictionary, babel, column_overlaps
from expander_theory.masks import Mask


def has_full_mask(dictionary: AnyDictionary) -> bool:
    """Whether the dictionary is masked, without a zero entry on its mask."""
    return isinstance(dictionary, Dictionary) and bool(dictionary.values.all())


def largest_overlap(mask: Mask) -> int:
    """The largest number of rows that two columns share; 0 for a single column."""
    present = np.nonzero(column_overlaps(mask).any(axis=0))[0]
    return int(present.max(initial=0))


def unique_supports(mask: Mask, supports: NDArray[np.integer], overlap: int) -> NDArray[np.bool_]:
    """Whether every code on a support is the only code of its signal with at most as many nonzeros (THEORY.md IDN-5).

    Decided by counts of rows, exactly, for all values without zeros on the mask. False says nothing. O(n d + k log k) a
    support.

    Args:
        mask: of a dictionary without zero entries on it.
        supports: (batch, k), k >= 1, distinct in each row.
        overlap: :func:`largest_overlap` of the mask, or more.
    """
    proved = np.zeros(len(supports), np.bool_)
    uncoverable(mask.rows, mask.m, overlap, np.ascontiguousarray(supports, np.int64), proved)
    return proved


def unique_sparsity(dictionary: AnyDictionary, most: int) -> int:
    """The largest k <= most for which every k-sparse code is the only one of its signal with at most k nonzeros.

    As far as Babel sums show it, mu_1(2k - 1) < 1 (THEORY.md STAB-3, of which mu < 1/(2k - 1) is a case), and, on a
    full mask whose columns share at most one row, stopping sets of at least d + 1 columns (EXP-10). Float64 with the
    margin :data:`expander_theory.dictionaries.MARGIN`. O(sum_i D_i^2) on a mask, O(n^2 m) for others. Source: THEORY.md
    IDN-4.
    """
    n = dictionary.n
    if n == 1:
        return 1
    sums = babel(dictionary, min(2 * most - 1, n - 1))
    met = int((sums < 1 - MARGIN).sum())  # sums increase: mu_1(1), ..., mu_1(met) are below 1
    k = most if met == n - 1 else (met + 1) // 2
    if isinstance(dictionary, Dictionary) and has_full_mask(dictionary):
        overlap = largest_overlap(dictionary.mask)
        k = max(k, n if overlap == 0 else dictionary.d // 2 if overlap == 1 else 0)
    return min(k, most)
