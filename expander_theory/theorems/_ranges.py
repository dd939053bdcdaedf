"""Exact thresholds of the dynamic range of the tied TopK encoder (THEORY.md TOPK-1, TOPK-1n), from the Gram matrix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from expander_theory.base import require, require_int
from expander_theory.dictionaries import Floats
from expander_theory.theorems.slack import EQUAL

# ---- thresholds of the dynamic range


def range_threshold(G: ArrayLike, support: Iterable[int]) -> float:
    """R*(S): the tied encoder is sign-consistently right on all x in +-[a, b]^S iff b/a < R*(S) (THEORY.md TOPK-1).

    min over i in S, j notin S, tau = +-1 of (1 - tau G_ij)/sum_{l in S, l != i} |G_il - tau G_jl|, with 0/0 = 0.

    Args:
        G: Gram matrix of unit columns, shape (n, n).
        support: distinct columns, at least one and not all.

    Returns:
        the threshold; infinity where the range does not matter.

    Raises:
        InvalidArgument: G is no Gram matrix of unit columns, or the support is not as above.
    """
    gram, chosen = _checked(G, support)
    return float(ratio(*signed_parts(gram[chosen], chosen)).min())


def nonnegative_range_threshold(G: ArrayLike, support: Iterable[int]) -> float:
    """R+(S): signed TopK of W^T W x is right on all x in [a, b]^S iff b/a < R+(S) (THEORY.md TOPK-1n).

    min over i in S, j notin S of [1 - G_ij + sum_l (G_il - G_jl)_+]/sum_l (G_jl - G_il)_+, l in S without i. Arguments,
    result and errors as for :func:`range_threshold`.
    """
    gram, chosen = _checked(G, support)
    return float(ratio(*nonnegative_parts(gram[chosen], chosen)).min())


def uniform_range_threshold(G: ArrayLike, k: int) -> float:
    """R*_k: the least R*(S) over all |S| = k, exactly; O(n^3) time and O(n^2) memory (THEORY.md TOPK-1).

    Args:
        G: Gram matrix of unit columns, shape (n, n).
        k: 1..n-1.

    Raises:
        InvalidArgument: G is no Gram matrix of unit columns, or k is out of range.
    """
    gram = _checked(G, [0])[0]
    n, k = gram.shape[0], require_int("k", k)
    require(1 <= k < n, "k", k, f"must be between 1 and n - 1 = {n - 1}")
    best = math.inf
    for i, tau in itertools.product(range(n), (1.0, -1.0)):
        terms = np.abs(gram[i] - tau * gram)  # [j, l]
        terms[:, i] = 0
        np.fill_diagonal(terms, 0)
        largest = np.partition(terms, n - k, axis=1)[:, n - k + 1 :]  # the k - 1 largest of each row
        sums = largest.sum(axis=1)
        best = min(best, float(np.delete(ratio(1 - tau * gram[i], sums), i).min()))
    return best


def _checked(G: ArrayLike, support: Iterable[int]) -> tuple[Floats, list[int]]:
    gram = np.asarray(G, dtype=np.float64)
    square = gram.ndim == 2 and gram.shape[0] == gram.shape[1] > 1
    require(square, "G", f"array of shape {gram.shape}", "must have shape (n, n), n >= 2")
    unit = bool(np.abs(np.diag(gram) - 1).max() <= 1e-4 and np.abs(gram - gram.T).max() <= 1e-4)
    require(unit, "G", "array", "must be symmetric with diagonal 1: the Gram matrix of unit columns")
    chosen = [require_int("support", j) for j in support]
    n = gram.shape[0]
    valid = 1 <= len(set(chosen)) == len(chosen) < n and all(0 <= j < n for j in chosen)
    require(valid, "support", chosen, f"must be 1 to {n - 1} distinct columns of 0..{n - 1}")
    return gram, chosen


def ratio(above: Floats, below: Floats) -> Floats:
    """above/below for numbers >= 0, with 0/0 = 0 and positive/0 = infinity."""
    out = np.full(above.shape, np.inf)
    np.divide(above, below, out=out, where=below > EQUAL)
    out[above <= EQUAL] = 0
    return out


def signed_parts(rows: Floats, chosen: Sequence[int]) -> tuple[Floats, Floats]:
    """Above and below of R*(S), from the rows of G that belong to S: (|S|, columns outside, tau = 1 and -1)."""
    inner, cross = rows[:, list(chosen)], np.delete(rows, list(chosen), axis=1)
    tau = np.array([1.0, -1.0])
    below = np.array(
        [
            np.abs(np.delete(inner[p][:, None, None] - tau * cross[..., None], p, axis=0)).sum(axis=0)
            for p in range(len(rows))
        ]
    )
    return 1 - tau * cross[..., None], below


def nonnegative_parts(rows: Floats, chosen: Sequence[int]) -> tuple[Floats, Floats]:
    """Parts of the nonnegative range R+(S): (|S|, columns outside)."""
    inner, cross = rows[:, list(chosen)], np.delete(rows, list(chosen), axis=1)
    leads = [np.delete(inner[p][:, None] - cross, p, axis=0) for p in range(len(rows))]  # G_il - G_jl as [l, j]
    above = 1 - cross + np.array([np.maximum(lead, 0).sum(axis=0) for lead in leads])
    return above, np.array([np.maximum(-lead, 0).sum(axis=0) for lead in leads])
