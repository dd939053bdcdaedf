"""Exact facts of columns without a mask (FORMAT.md, version 3): norms, and the largest sums of inner products.

Products of matrices in floats, whose rounding errors are bounded, leave the few columns and products that can matter;
those are computed as rationals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import progress_bar
from expander_theory.certificates._prove.values import Extreme
from expander_theory.dictionaries import Floats

LONGEST = 512
_U = 2.0**-53
_CELLS = 2**24  # of a block of inner products


@dataclass(frozen=True)
class DenseFacts:
    """Extreme squared norms, the first column whose squared norm is off 1 by more than 2e-4, A_0.. and its columns."""

    least: Extreme
    largest: Extreme
    off_unit: Extreme | None
    sums: list[Fraction]
    columns: list[int | None]


def dense_facts(columns: Floats, *, progress: bool) -> DenseFacts:
    """Facts of columns (n, m)."""
    values = columns.astype(np.float64)
    scale = int(np.frexp(np.abs(values).max())[1])
    own = _Columns(values, scale)
    squares = (own.values**2).sum(axis=1)
    slack = (own.m + 2) * _U * squares.max() * 1.01
    least = own.extreme(np.nonzero(squares <= squares.min() + 2 * slack)[0], min)
    largest = own.extreme(np.nonzero(squares >= squares.max() - 2 * slack)[0], max)
    with np.errstate(over="ignore", under="ignore"):
        off = np.abs(np.ldexp(squares, 2 * scale) - 1)
    off_unit = None
    for j in np.nonzero(~(off < 1.999e-4))[0]:
        square = own.product(int(j), int(j))
        if abs(square - 1) > Fraction(2, 10000):
            off_unit = Extreme(square, int(j))
            break
    return DenseFacts(least, largest, off_unit, *_gram_sums(own, float(squares.max()), least.value, progress))


class _Columns:
    """Columns as stored, for exact inner products, and scaled into [-1, 1], where the least may vanish, for others."""

    def __init__(self, stored: Floats, scale: int) -> None:
        self.stored = stored
        self.n, self.m = stored.shape
        with np.errstate(under="ignore"):
            self.values = np.ldexp(stored, -scale)
        moduli = np.abs(stored[stored != 0])
        self.flat = float(moduli[0]) if (moduli == moduli[0]).all() else None

    def product(self, j: int, l: int) -> Fraction:
        """<w_j, w_l>."""
        a, b = self._integers(j), self._integers(l)
        exponents = a[1] + b[1]
        least = int(exponents.min(initial=0))
        shifts = (exponents - least).tolist()
        total = sum((x * y) << s for x, y, s in zip(a[0].tolist(), b[0].tolist(), shifts, strict=True) if x and y)
        return Fraction(total) * Fraction(2) ** least

    def _integers(self, j: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        mantissas, exponents = np.frexp(self.stored[j])
        return np.ldexp(mantissas, 53).astype(np.int64), exponents.astype(np.int64) - 53

    def extreme(self, candidates: NDArray[np.int64], choose: Callable[..., Any]) -> Extreme:
        """The first of those columns with the least or largest squared norm."""
        norms = [self.product(int(j), int(j)) for j in candidates]
        value = choose(norms)
        return Extreme(value, int(candidates[norms.index(value)]))


def _gram_sums(
    own: _Columns, largest_square: float, least_norm: Fraction, progress: bool
) -> tuple[list[Fraction], list[int | None]]:
    """A_0 = 0, A_1, ..., A_K and the first columns that attain them; K as in FORMAT.md."""
    longest = min(own.n - 1, LONGEST)
    for size in (16, 64, LONGEST):  # K is small as a rule
        sums, columns = _largest_sums(own, largest_square, min(size, longest), progress) if longest else ([], [])
        reached = next((k for k, total in enumerate(sums) if total >= least_norm), None)
        if reached is not None:
            sums, columns = sums[: reached + 1], columns[: reached + 1]
        if reached is not None or size >= longest:
            return [Fraction(0), *sums], [None, *columns]
    raise AssertionError("not reached: the last size is the longest")


def _largest_sums(own: _Columns, largest_square: float, size: int, progress: bool) -> tuple[list[Fraction], list[int]]:
    whole = own.flat is not None and own.m * size < 2**53
    values = np.sign(own.values) if whole else own.values
    error = 0.0 if whole else (own.m + 2) * _U * largest_square * 1.01  # of one inner product
    sums = np.empty((own.n, size))
    step = max(1, _CELLS // own.n)
    for first in progress_bar(range(0, own.n, step), show=progress, desc="inner products", leave=False):
        moduli = _moduli(values, first, min(own.n, first + step))
        part = -np.partition(-moduli, size - 1, axis=1)[:, :size]
        np.cumsum(-np.sort(-part, axis=1), axis=1, out=sums[first : first + step])
    if whole and own.flat is not None:
        unit = Fraction(own.flat) ** 2
        return [Fraction(int(total)) * unit for total in sums.max(axis=0)], sums.argmax(axis=0).tolist()
    slack = np.arange(1, size + 1) * (error + (size + 2) * _U * largest_square * 1.01)
    contenders = np.nonzero((sums + slack >= (sums - slack).max(axis=0)).any(axis=1))[0]
    totals, attained = [Fraction(-1)] * size, [0] * size
    for j in progress_bar(contenders, show=progress, desc="exact sums", leave=False):
        running = Fraction(0)
        for k, modulus in enumerate(_exact_moduli(own, int(j), size, error)):
            running += modulus
            if running > totals[k]:
                totals[k], attained[k] = running, int(j)
    return totals, attained


def _moduli(values: Floats, first: int, last: int) -> Floats:
    """|<w_j, w_l>| for j = first..last-1 and all l; -1 for l = j."""
    moduli = np.abs(values[first:last] @ values.T)
    moduli[np.arange(last - first), np.arange(first, last)] = -1
    return moduli


def _exact_moduli(own: _Columns, j: int, size: int, error: float) -> list[Fraction]:
    """The ``size`` largest |<w_j, w_l>|, l != j, decreasing."""
    moduli = _moduli(own.values, j, j + 1)[0]
    floor = -np.partition(-moduli, size - 1)[size - 1]
    candidates = np.nonzero((moduli >= floor - 2 * error) & (np.arange(own.n) != j))[0]
    return sorted((abs(own.product(j, int(l))) for l in candidates), reverse=True)[:size]
