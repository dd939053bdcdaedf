"""Facts of version 3 (columns without a mask), recomputed by the checker.

For every column the products with all others are added in floats, with a bound of their errors; a column whose sum may
exceed the largest is taken up in exact integers, from the largest sums downwards, until none is left that could.
"""

from __future__ import annotations

import heapq
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import progress_bar
from expander_theory.dictionaries import AnyDictionary, BlockDictionary

LONGEST = 512
_BLOCK = 256


class Whole:
    """Columns as integers over one power of two, and as floats; a float is p/q with q a power of two."""

    def __init__(self, dictionary: AnyDictionary) -> None:
        given = dictionary.densified() if isinstance(dictionary, BlockDictionary) else dictionary
        self.floats = given.values.astype(np.float64)
        self.n, self.m = self.floats.shape
        self.power = int(np.frexp(np.abs(self.floats).max())[1])
        with np.errstate(under="ignore"):
            self.scaled = np.ldexp(self.floats, -self.power)  # the least entries may vanish: exact() takes ``floats``
        self.longest = float(np.einsum("ij,ij->i", self.scaled, self.scaled).max())
        self.error = 1.01 * (self.m + 4) * 2.0**-53 * self.longest
        """Of an inner product of scaled columns, added in any order."""
        self._kept: dict[int, tuple[list[int], int]] = {}

    def exact(self, j: int, l: int) -> Fraction:
        """<w_j, w_l> as stored."""
        (a, p), (b, q) = self._column(j), self._column(l)
        return Fraction(sum(x * y for x, y in zip(a, b, strict=True)), p * q)

    def _column(self, j: int) -> tuple[list[int], int]:
        if j not in self._kept:
            if len(self._kept) > 256:
                self._kept.clear()
            ratios = [value.as_integer_ratio() for value in self.floats[j].tolist()]
            common = max(q for _, q in ratios)
            self._kept[j] = [p * (common // q) for p, q in ratios], common
        return self._kept[j]

    def squares(self) -> tuple[dict[str, Any], int | None]:
        """``norms`` of FORMAT.md, and the first column that is off unit norm."""
        about = np.einsum("ij,ij->i", self.scaled, self.scaled)
        low = np.flatnonzero(about <= about.min() + 2 * self.error).tolist()
        high = np.flatnonzero(about >= about.max() - 2 * self.error).tolist()
        least = min((self.exact(j, j), j) for j in low)
        largest = max((self.exact(j, j), -j) for j in high)
        away = None
        with np.errstate(over="ignore", under="ignore"):
            stored = np.ldexp(about, 2 * self.power)
        for j in np.flatnonzero(~(np.abs(stored - 1) < 1.99e-4)).tolist():
            if abs(self.exact(j, j) - 1) * 10000 > 2:
                away = j
                break
        norms = {
            "least": str(least[0]),
            "least_column": least[1],
            "largest": str(largest[0]),
            "largest_column": -largest[1],
        }
        return norms, away

    def sums(self, least: Fraction, *, progress: bool) -> tuple[list[Fraction], list[int | None]]:
        """A_0, ..., A_K and the columns that attain them first."""
        most = min(self.n - 1, LONGEST)
        for size in sorted({min(most, 24), min(most, 96), most}):
            best, first = self._best(size, progress) if size else ([], [])
            end = next((k for k, total in enumerate(best) if total >= least), None)
            if end is not None or size == most:
                keep = len(best) if end is None else end + 1
                return [Fraction(0), *best[:keep]], [None, *first[:keep]]
        raise AssertionError("not reached")

    def _best(self, size: int, progress: bool) -> tuple[list[Fraction], list[int]]:
        moduli = np.abs(self.floats[self.floats != 0])
        flat = bool((moduli == moduli[0]).all())
        matrix = np.sign(self.floats) if flat else self.scaled
        about = np.empty((self.n, size))
        for start in progress_bar(range(0, self.n, _BLOCK), show=progress, desc="Gram sums", unit="block"):
            block = np.abs(matrix[start : start + _BLOCK] @ matrix.T)
            block[np.arange(len(block)), np.arange(start, start + len(block))] = 0
            top = np.sort(np.partition(block, self.n - size, axis=1)[:, self.n - size :], axis=1)[:, ::-1]
            about[start : start + len(block)] = np.cumsum(top, axis=1)
        if flat:  # sums of at most m size ones: floats hold them exactly
            step = Fraction(float(moduli[0])) ** 2
            return [int(total) * step for total in about.max(axis=0)], about.argmax(axis=0).tolist()
        best, first = [Fraction(-1)] * size, [0] * size
        width = np.arange(1, size + 1) * (self.error + (size + 4) * 2.0**-53 * self.longest)
        open_columns = np.flatnonzero((about + width >= about.max(axis=0) - width).any(axis=1))
        for j in progress_bar(open_columns.tolist(), show=progress, desc="exact sums", unit="column", leave=False):
            for k, total in enumerate(accumulate(self._largest(j, size))):
                if total > best[k]:
                    best[k], first[k] = total, j
        return best, first

    def _largest(self, j: int, size: int) -> list[Fraction]:
        moduli: NDArray[np.float64] = np.abs(self.scaled @ self.scaled[j])
        moduli[j] = -1
        floor = np.sort(moduli)[-size] - 2 * self.error
        near = [l for l in np.flatnonzero(moduli >= floor).tolist() if l != j]
        return heapq.nlargest(size, (abs(self.exact(j, l)) for l in near))
