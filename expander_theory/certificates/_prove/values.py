"""Exact facts about the values of a dictionary, column by column (FORMAT.md: norms, zeros, flatness, binary).

Floats are dyadic rationals: here they become integers times one power of two, common to the dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.dictionaries import Dictionary, Floats

_BLOCK = 4096


class ExactValues:
    """Values (n, d) as ``integer * unit``: ``unit`` is a power of two, the integers are Python's, of any size."""

    def __init__(self, values: Floats) -> None:
        mantissas, exponents = np.frexp(values.astype(np.float64))  # float32 fits; subnormals come out normalised
        mantissas = np.ldexp(mantissas, 53).astype(np.int64)
        present = mantissas != 0
        # mantissa = odd * 2^twos; the lowest set bit is a power of two, exact as a float
        twos = np.frexp((mantissas & -mantissas).astype(np.float64))[1] - 1
        exponents = exponents - 53 + twos
        least = int(exponents[present].min())
        self._odd = np.where(present, mantissas >> np.maximum(twos, 0), 0)
        self._shifts = np.where(present, exponents - least, 0)
        self.unit = Fraction(2) ** least

    def integers(self, begin: int, end: int) -> NDArray[Any]:
        """The integers of columns begin..end-1, shape (end - begin, d), dtype object."""
        return self._odd[begin:end].astype(object) << self._shifts[begin:end].astype(object)

    @cached_property
    def bits(self) -> int:
        """Length in bits of the largest modulus among the integers."""
        return int((self._shifts + np.frexp(self._odd.astype(np.float64))[1]).max())

    def entry(self, column: int, place: int) -> int:
        """The integer of one value."""
        return int(self._odd[column, place]) << int(self._shifts[column, place])


@dataclass(frozen=True)
class Extreme:
    """An exact value and the first column that attains it."""

    value: Fraction
    column: int


@dataclass(frozen=True)
class ValueFacts:
    """What the values alone say. ``off_unit`` is the first column whose squared norm is off 1 by more than 2e-4."""

    least: Extreme
    largest: Extreme
    c_squared: Extreme
    beta: Extreme
    zeros: int
    first_zero: int | None
    binary: bool
    off_unit: Extreme | None


def value_facts(dictionary: Dictionary, exact: ExactValues) -> ValueFacts:
    """Norms, flatness, zeros; O(n d) operations on integers."""
    n, d, values = dictionary.n, dictionary.d, dictionary.values
    square = exact.unit**2
    norms, peaks, sums = zip(*_column_sizes(exact, n), strict=True)
    least, largest = min(range(n), key=norms.__getitem__), max(range(n), key=norms.__getitem__)
    peakiest, beta = _largest_ratio([peak * peak for peak in peaks], norms), _largest_ratio(peaks, sums)
    # For an integer N: N unit^2 < 1 - 2e-4 iff N < low, and N unit^2 > 1 + 2e-4 iff N > high.
    low, high = -(-(1 - Fraction(2, 10000)) // square), (1 + Fraction(2, 10000)) // square
    off_unit = next((j for j, norm in enumerate(norms) if not low <= norm <= high), None)
    zero = (values == 0).any(axis=1)
    return ValueFacts(
        least=Extreme(norms[least] * square, least),
        largest=Extreme(norms[largest] * square, largest),
        c_squared=Extreme(Fraction(d * peaks[peakiest] ** 2, norms[peakiest]), peakiest),
        beta=Extreme(Fraction(d * peaks[beta], sums[beta]), beta),
        zeros=int((values == 0).sum()),
        first_zero=int(np.argmax(zero)) if zero.any() else None,
        binary=bool(values.flat[0] > 0 and (values == values.flat[0]).all()),
        off_unit=None if off_unit is None else Extreme(norms[off_unit] * square, off_unit),
    )


def _largest_ratio(numerators: Sequence[int], denominators: Sequence[int]) -> int:
    """Index of the first of the largest numerators[j] / denominators[j], all denominators positive."""
    best = 0
    for j, (top, bottom) in enumerate(zip(numerators, denominators, strict=True)):
        if top * denominators[best] > numerators[best] * bottom:
            best = j
    return best


def _column_sizes(exact: ExactValues, n: int) -> Iterator[tuple[int, int, int]]:
    """Squared l2 norm, largest modulus and l1 norm of every column, in integers."""
    for begin in range(0, n, _BLOCK):
        moduli = abs(exact.integers(begin, min(n, begin + _BLOCK)))
        yield from zip((moduli * moduli).sum(axis=1), moduli.max(axis=1), moduli.sum(axis=1), strict=True)
