"""Exact sums of the largest inner products of the columns (FORMAT.md: gram)."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.expansion.certificates import fold_largest_sums, mark_contenders
from expander_theory._kernels.expansion.graph import Entries
from expander_theory.base import progress_bar
from expander_theory.certificates._prove.values import ExactValues
from expander_theory.dictionaries import Dictionary, Floats

LONGEST = 512
_EXACT = 2**53  # integers up to here are floats, and so are their sums


def gram_sums(
    dictionary: Dictionary, exact: ExactValues, least_norm: Fraction, *, progress: bool
) -> tuple[list[Fraction], list[int | None]]:
    """A_0 = 0, A_1, ..., A_K, and the first column that attains each (null for A_0).

    A_k = max_j of the sum of the k largest |<w_j, w_l>|, l != j. K is the first k with A_k >= ``least_norm``, or
    n - 1, or 512, whichever is least.

    Where all values are small multiples of one number (a flat dictionary, say), floats add them without
    rounding. Otherwise floats with an error bound shortlist the columns that can attain a maximum, and
    integers decide among them.
    """
    longest = min(dictionary.n - 1, LONGEST)
    for size in (16, 64, LONGEST):  # K is small as a rule
        sums, columns = _largest_sums(dictionary, exact, min(size, longest), progress) if longest else ([], [])
        reached = next((k for k, total in enumerate(sums) if total >= least_norm), None)
        if reached is not None:
            sums, columns = sums[: reached + 1], columns[: reached + 1]
        if reached is not None or size >= longest:
            return [Fraction(0), *sums], [None, *columns]
    raise AssertionError("not reached: the last size is the longest")


def _largest_sums(
    dictionary: Dictionary, exact: ExactValues, size: int, progress: bool
) -> tuple[list[Fraction], list[int]]:
    n, d, mask = dictionary.n, dictionary.d, dictionary.mask
    scaled, unit = _scaled(dictionary.values, exact)
    whole = unit is not None and float(np.abs(scaled).max()) ** 2 * d * size <= _EXACT
    # Products, their sum over at most d rows and the sum of at most k of these: twice the usual bound.
    roundoff = 0.0 if whole else (d + size + 16) * 2.0**-52
    start, columns = mask.row_lists
    order = np.argsort(mask.rows.ravel(), kind="stable")
    graph = Entries(mask.rows, scaled, start, columns, scaled.ravel()[order])
    best, first, proved = np.full(size, -1.0), np.zeros(size, np.int64), np.zeros(size)
    spans = list(pairwise(np.linspace(0, n, min(n, 32) + 1).astype(int)))
    for begin, end in progress_bar(spans, show=progress, desc="inner products", leave=False):
        fold_largest_sums(graph, begin, end, roundoff, best, first, proved)
    if whole and unit is not None:
        return [int(total) * unit**2 for total in best], [int(j) for j in first]
    contender = np.zeros(n, np.bool_)
    for begin, end in progress_bar(spans, show=progress, desc="largest columns", leave=False):
        mark_contenders(graph, begin, end, roundoff, proved, contender)
    totals, attained = [-1] * size, [0] * size
    shortlist = np.nonzero(contender)[0]
    for j in progress_bar(shortlist, show=progress, desc="exact sums", leave=False):
        running = 0
        moduli = _largest_moduli(mask.rows, exact, start, columns, order, int(j), size)
        for k in range(size):
            running += moduli[k]
            if running > totals[k]:
                totals[k], attained[k] = running, int(j)
    return [total * exact.unit**2 for total in totals], attained


def _scaled(values: Floats, exact: ExactValues) -> tuple[Floats, Fraction | None]:
    """Float64 values = ``scaled * unit`` exactly, with integers ``scaled``; or unit None, scaled to moduli up to 1."""
    values = values.astype(np.float64)
    moduli = np.abs(values[values != 0])
    if (moduli == moduli[0]).all():
        return np.sign(values), Fraction(float(moduli[0]))
    if exact.bits <= 53:
        return exact.integers(0, len(values)).astype(np.float64), exact.unit
    return np.ldexp(values, -int(np.frexp(moduli.max())[1])), None


def _largest_moduli(
    rows: NDArray[np.int32],
    exact: ExactValues,
    start: NDArray[np.int64],
    columns: NDArray[np.int32],
    order: NDArray[Any],
    j: int,
    size: int,
) -> list[int]:
    """The ``size`` largest |<w_j, w_l>|, l != j, decreasing, in integers; zeros where there are fewer."""
    products: dict[int, int] = {}
    d = rows.shape[1]
    for i in range(d):
        value = exact.entry(j, i)
        for p in range(start[rows[j, i]], start[rows[j, i] + 1]):
            l = int(columns[p])
            products[l] = products.get(l, 0) + value * exact.entry(l, int(order[p]) % d)
    products.pop(j)
    moduli = sorted(map(abs, products.values()), reverse=True)[:size]
    return moduli + [0] * (size - len(moduli))
