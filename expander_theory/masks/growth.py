"""Random masks grown column by column, so that columns share few rows."""

import math

import numpy as np

from expander_theory._kernels.sampling.growth import limited_overlap, progressive_edge_growth
from expander_theory.base import ExpanderTheoryError, InvalidArgument, Seed, generator, require, require_int
from expander_theory.masks.mask import Mask
from expander_theory.masks.random import recipe, require_sizes

ATTEMPTS = 1000
"""How often :func:`overlap_limited_mask` starts a column anew before it gives up."""


def progressive_edge_growth_mask(m: int, n: int, d: int, *, seed: Seed) -> Mask:
    """Progressive edge growth: every edge goes where it closes the longest cycle.

    Columns in turn, d edges each. The breadth-first tree from the column over what has been placed
    has its own rows at depth 0, those that share an earlier column with these at depth 1, and so on.
    The next edge goes

    1. to a row that the tree never reaches, or else to one of its greatest depth
       (an edge to depth t closes a cycle of length 2t + 2);
    2. where that depth is 1, so that a 4-cycle is closed in any case: to a row that closes the fewest,
       sum_{l through the row} |N(l) cap N(j)|;
    3. among these to a row of the lowest degree, at random among equals.

    1 and 3 are Hu, Eleftheriou and Arnold (2005); 2 is needed at the sizes of sparse autoencoders, where
    the tree reaches all rows at depth 1. Row degrees come out nearly, not exactly, balanced.

    Time on one core: 6 s for (m, n, d) = (2048, 16384, 8), 12 s for (2048, 65536, 8), 5 s and 25 s
    for (2048, 16384, 32) and (2048, 16384, 64). In general at least n d m for the search of the
    deepest rows, and n^2 d^3 / 2m for the count of the 4-cycles.

    Raises:
        InvalidArgument: m, n or d below 1, or d > m.
    """
    m, n, d = require_sizes(m, n, d)
    rows = np.empty((n, d), np.int32)
    progressive_edge_growth(generator(seed, "progressive edge growth mask"), m, rows)
    return Mask(m, np.sort(rows, axis=1), recipe("progressive-edge-growth", f"m={m}, n={n}, d={d}", seed))


def overlap_limited_mask(m: int, n: int, d: int, *, max_overlap: int, seed: Seed) -> Mask:
    """A greedy random mask in which no two columns share more than ``max_overlap`` rows.

    Columns in turn; each row of a column is uniform among those that keep all its overlaps within
    the limit, and a column that runs out of rows is started anew, :data:`ATTEMPTS` times. Near the
    packing bound n C(d, o+1) <= C(m, o+1) (THEORY.md EXP-9) greedy search fails although masks may
    exist, as :func:`expander_theory.masks.polynomial_mask` does with n C(d, 2) near C(m, 2).

    Smallest limit that succeeds, and the time on one core: (m, n, d) = (512, 4096, 7): 1, 0.05 s;
    (512, 4096, 16): 3, 0.1 s; (512, 4096, 32): 6, 0.3 s; (2048, 16384, 8): 1, 0.6 s;
    (2048, 16384, 32): 3, 4 s; (2048, 16384, 64): 6, 19 s; (2048, 65536, 8): 2, 2 s (at 1 it ends, after
    15 s, at column 56,000).

    Args:
        max_overlap: o, from 0 (disjoint columns) to d (no restriction).

    Raises:
        InvalidArgument: a size out of range; ``max_overlap`` impossible by the packing bound, or
            not reached by the greedy search.
    """
    m, n, d = require_sizes(m, n, d)
    o = require_int("max_overlap", max_overlap)
    require(0 <= o <= d, "max_overlap", o, f"must be between 0 and d = {d}")
    needed, available = n * math.comb(d, o + 1), math.comb(m, o + 1)
    packing = f"n C(d, {o + 1}) <= C(m, {o + 1}) for m = {m}, n = {n}, d = {d}"
    require(needed <= available, "max_overlap", o, f"no such mask: it must satisfy the packing bound {packing}")
    rows = np.empty((n, d), np.int32)
    done = limited_overlap(generator(seed, "overlap limited mask"), m, o, ATTEMPTS, rows)
    if done < n:
        text = f"greedy search found no rows for column {done} of {n} in {ATTEMPTS} attempts: "
        raise InvalidArgument("max_overlap", o, text + "choose a larger max_overlap or a smaller n")
    sizes = f"m={m}, n={n}, d={d}, max_overlap={o}"
    return Mask(m, np.sort(rows, axis=1), recipe("overlap-limited", sizes, seed))


def least_overlap_mask(m: int, n: int, d: int, *, seed: Seed, first: int = 1) -> Mask:
    """:func:`overlap_limited_mask` with the least limit that its greedy search reaches.

    Args:
        m, n, d: rows, columns, nonzeros a column; 1 <= d <= m.
        seed: of every search; a generator goes on from one to the next.
        first: the limit that is tried first. 0, disjoint columns, is possible only for n d <= m.

    Raises:
        InvalidArgument: a size out of range.
    """
    for most in range(first, d):
        try:
            return overlap_limited_mask(m, n, d, max_overlap=most, seed=seed)
        except ExpanderTheoryError:
            continue
    return overlap_limited_mask(m, n, d, max_overlap=d, seed=seed)
