"""Properties of single supports, decided without a doubt: by floats with error bounds, and where those do not decide,
in exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.guarantees.ranges import least_slack
from expander_theory.dictionaries import AnyDictionary, Dictionary, Floats, without_blocks
from expander_theory.solvers import Columns, coefficient_sums, erc_bounds, largest_overlap, unique_supports

Supports = NDArray[np.int64]
Decide = Callable[[Supports], NDArray[np.bool_]]

_NEAR = 1e-6
_U = 2.0**-53


class Exact:
    """Inner products of a dictionary's columns, in rationals."""

    def __init__(self, dictionary: AnyDictionary) -> None:
        self.part = without_blocks(dictionary)

    @cached_property
    def matrix(self) -> Any:
        """The columns as rows of a scipy.sparse or NumPy (n, m) matrix in float64, exactly."""
        if isinstance(self.part, Dictionary):
            return self.part.astype(np.float64).to_scipy().T.tocsr()
        return self.part.values.astype(np.float64)

    def column(self, j: int) -> dict[int, Fraction]:
        """Nonzero entries of column j by row."""
        values = self.part.values[j].tolist()
        rows = self.part.mask.rows[j].tolist() if isinstance(self.part, Dictionary) else range(len(values))
        return {row: Fraction(value) for row, value in zip(rows, values, strict=True) if value}

    def products(self, columns: list[dict[int, Fraction]], others: list[dict[int, Fraction]]) -> list[list[Fraction]]:
        """[a][b] = <columns[a], others[b]>."""
        return [[_inner(a, b) for b in others] for a in columns]


def _inner(a: dict[int, Fraction], b: dict[int, Fraction]) -> Fraction:
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    return sum((value * large[row] for row, value in small.items() if row in large), Fraction(0))


def recovered_by_omp(dictionary: AnyDictionary) -> Decide:
    """Whether ERC(S) < 1 (THEORY.md OMP-1)."""
    columns, exact = Columns(dictionary), Exact(dictionary)

    def decide(supports: Supports) -> NDArray[np.bool_]:
        bounds = erc_bounds(columns, supports)
        proved = bounds.high < 1
        for b in np.nonzero(~proved & (bounds.low < 1))[0]:
            close = bounds.high[b] - bounds.low[b] < _NEAR / 10
            proved[b] = _erc_below_one(exact, columns, supports[b], close)
        return proved

    return decide


def _erc_below_one(exact: Exact, columns: Columns, support: NDArray[np.int64], close: bool) -> bool:
    """In rationals, for the columns that floats leave open: all of them unless the bounds are ``close``."""
    from flint import fmpq, fmpq_mat

    inside = [exact.column(int(j)) for j in support]
    k = len(inside)
    gram = fmpq_mat(k, k, [fmpq(x.numerator, x.denominator) for row in exact.products(inside, inside) for x in row])
    if gram.rank() < k:
        return False
    open_columns = np.setdiff1d(np.arange(columns.n), support)
    if close:
        sums = coefficient_sums(columns, support)
        open_columns = open_columns[sums[open_columns] > 1 - _NEAR]
    for j in open_columns:
        (row,) = exact.products([exact.column(int(j))], inside)
        y = gram.solve(fmpq_mat(k, 1, [fmpq(x.numerator, x.denominator) for x in row]))
        if not sum((abs(y[i, 0]) for i in range(k)), fmpq(0)) < 1:
            return False
    return True


def found_by_topk(dictionary: AnyDictionary, dynamic_range: Fraction) -> Decide:
    """Whether TopK is right on all codes of the support and dynamic range r: N_i - t G_ij > r sum |G_il - t G_jl| for
    i in S, j outside, t = 1 and -1, the sum over l in S but i (THEORY.md TOPK-1 for one support)."""
    exact = Exact(dictionary)
    p, q = dynamic_range.numerator, dynamic_range.denominator
    values = exact.part.values.astype(np.float64)
    moduli = np.abs(values[values != 0])
    terms = values.shape[1]
    flat = bool((moduli == moduli[0]).all())  # then signs say everything, and floats hold the integers exactly
    matrix = exact.matrix / moduli[0] if flat else exact.matrix
    largest = float((np.abs(values) ** 2).sum(axis=1).max())

    def decide(supports: Supports) -> NDArray[np.bool_]:
        k, n = supports.shape[1], exact.part.n
        error = 0.0
        if not flat or terms * max(p, q) * 4 * k >= 2**53:
            one = (terms + 2) * _U * largest * 1.01
            error = (2 * q + 2 * p * k) * (one + (2 * k + 8) * _U * largest * 1.01)
        slacks, proved = np.empty(n), np.empty(len(supports), np.bool_)
        for b, support in enumerate(supports):
            products = np.ascontiguousarray(matrix @ np.ascontiguousarray(_dense(matrix[support]).T))
            least_slack(products, support, float(p), float(q), slacks)
            worst = slacks.min()
            proved[b] = worst > error
            if k < n and -error <= worst <= error and error > 0:
                near = np.nonzero(slacks <= error)[0]
                proved[b] = all(_range_holds(exact, support, int(j), p, q) for j in near)
        return proved

    return decide


def _range_holds(exact: Exact, support: NDArray[np.int64], j: int, p: int, q: int) -> bool:
    inside = [exact.column(int(l)) for l in support]
    gram = exact.products(inside, inside)
    (row,) = exact.products([exact.column(j)], inside)
    k = len(inside)
    for i in range(k):
        for sign in (1, -1):
            total = sum((abs(gram[i][l] - sign * row[l]) for l in range(k) if l != i), Fraction(0))
            if not q * (gram[i][i] - sign * row[i]) > p * total:
                return False
    return True


def unique_codes(dictionary: Dictionary) -> Decide:
    """Whether every code on the support is the only one so sparse (THEORY.md IDN-5), by counts of rows."""
    mask = dictionary.mask
    overlap = largest_overlap(mask)
    return lambda supports: unique_supports(mask, supports, overlap)


def _dense(rows: Any) -> Floats:
    return rows.toarray() if hasattr(rows, "toarray") else rows
