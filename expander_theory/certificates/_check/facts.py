"""Facts of FORMAT.md about values and Gram matrix, recomputed from rows and values in exact integers."""

import heapq
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import progress_bar
from expander_theory.certificates._check.overlaps import adjacency, magnitudes, sums_of_largest
from expander_theory.dictionaries import Dictionary

LONGEST = 512  # no list of facts goes further


@dataclass(frozen=True)
class Scaled:
    """A dictionary in integers: its value (j, i) is ``values[j][i] / 2^e``, a product of two is over ``unit`` = 4^e.

    ``squares[j]`` = N_j 4^e.
    """

    m: int
    rows: NDArray[np.int32]
    values: list[list[int]]
    squares: list[int]
    unit: int

    @property
    def n(self) -> int:
        return self.rows.shape[0]

    @property
    def d(self) -> int:
        return self.rows.shape[1]

    def exact(self, square: int) -> Fraction:
        """The rational of an integer that has the scale of a product of two values."""
        return Fraction(square, self.unit)


def scaled(dictionary: Dictionary) -> Scaled:
    """The dictionary in integers. A float is p/q with q a power of two; the largest q serves for all."""
    columns = dictionary.values.astype(np.float64).tolist()  # float32 to float64 is exact
    ratios = [[value.as_integer_ratio() for value in column] for column in columns]
    common = max(q for column in ratios for _, q in column)
    values = [[p * (common // q) for p, q in column] for column in ratios]
    squares = [sum(v * v for v in column) for column in values]
    return Scaled(dictionary.m, dictionary.mask.rows, values, squares, common**2)


def value_facts(w: Scaled) -> dict[str, Any]:
    """``norms``, ``zeros``, ``flatness`` and ``binary``. ``index`` and ``max`` give the first of equals."""
    least, largest = min(w.squares), max(w.squares)
    empty = [column.count(0) for column in w.values]
    peaks = [max(map(abs, column)) for column in w.values]
    curved = [Fraction(w.d * peak**2, square) for peak, square in zip(peaks, w.squares, strict=True)]
    spiky = [Fraction(w.d * peak, sum(map(abs, column))) for peak, column in zip(peaks, w.values, strict=True)]
    return {
        "norms": {
            "least": str(w.exact(least)),
            "least_column": w.squares.index(least),
            "largest": str(w.exact(largest)),
            "largest_column": w.squares.index(largest),
        },
        "zeros": {"count": sum(empty), "first_column": next((j for j, count in enumerate(empty) if count), None)},
        "flatness": {
            "C_squared": str(max(curved)),
            "C_column": curved.index(max(curved)),
            "beta": str(max(spiky)),
            "beta_column": spiky.index(max(spiky)),
        },
        "binary": w.values[0][0] > 0 and all(v == w.values[0][0] for column in w.values for v in column),
    }


def gram_sums(w: Scaled, *, progress: bool) -> tuple[list[int], list[int | None]]:
    """A_0 = 0, A_1, ..., A_K in the scale of ``unit``, and the first columns that attain them (None for A_0)."""
    moduli = {abs(v) for column in w.values for v in column} - {0}
    most = min(w.n - 1, LONGEST)
    if len(moduli) == 1:
        best, first = _sums_of_signs(w, most, moduli.pop() ** 2, progress)
    else:
        best, first = _sums_of_products(w, most, progress)
    end = next((k for k in range(most) if best[k] >= min(w.squares)), most)
    return best[: end + 1], [None, *first[1 : end + 1]]


def _sums_of_signs(w: Scaled, most: int, square: int, progress: bool) -> tuple[list[int], list[int]]:
    """All nonzero values are +v or -v: |p_jl| is v^2 times the integer |sum of the products of signs|, at most d."""
    signs = np.array([[(v > 0) - (v < 0) for v in column] for column in w.values], np.int32)
    sums = sums_of_largest(magnitudes(adjacency(w.m, w.rows, signs), w.d, progress=progress), most)
    return [square * int(s) for s in sums.max(axis=0)], [int(j) for j in sums.argmax(axis=0)]


def _sums_of_products(w: Scaled, most: int, progress: bool) -> tuple[list[int], list[int]]:
    """Any values: the products p_jl of one column j at a time, from the lists of columns through each row."""
    through: list[list[tuple[int, int]]] = [[] for _ in range(w.m)]
    supports: list[list[int]] = w.rows.tolist()
    for j, (rows, column) in enumerate(zip(supports, w.values, strict=True)):
        for i, v in zip(rows, column, strict=True):
            through[i].append((j, v))
    least = min(w.squares)
    best, first = [0] * (most + 1), [0] * (most + 1)
    for j in progress_bar(range(w.n), show=progress, desc="Gram sums", unit="column"):
        products: dict[int, int] = {}
        for i, v in zip(supports[j], w.values[j], strict=True):
            for l, u in through[i]:
                products[l] = products.get(l, 0) + u * v
        del products[j]
        total = 0
        largest = heapq.nlargest(most, map(abs, products.values()))
        for k, total in enumerate(accumulate(largest), 1):
            if total > best[k]:
                best[k], first[k] = total, j
        for k in range(len(largest) + 1, most + 1):  # the rest of its products are zero
            if total > best[k]:
                best[k], first[k] = total, j
        # The final A_k are at least these, so nothing past the first that reaches N_min is asked for.
        most = next((k for k in range(most) if best[k] >= least), most)
    return best, first


def decimals(square: Fraction) -> str:
    """A rational with six significant digits, as the refusal texts print it."""
    try:
        return f"{float(square):.6g}"
    except OverflowError:
        return "inf"
