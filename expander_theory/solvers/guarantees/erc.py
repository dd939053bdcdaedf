"""Rigorous bounds of the exact recovery coefficient: every rounding error is accounted for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.guarantees.supports import largest_l1
from expander_theory.dictionaries import AnyDictionary, Dictionary, Floats, without_blocks

_U = 2.0**-53
_TINY = 2.0**-1070  # a product that vanishes is less than this


@dataclass(frozen=True, eq=False)
class Bounds:
    """``low`` <= ERC(S) <= ``high`` for each support, float64 (batch,); infinity where W_S may be rank deficient."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Columns:
    """A dictionary's columns in float64, which holds float32 exactly, brought near 1 by one power of two.

    ERC(S) does not depend on a common scale of the columns.
    """

    def __init__(self, dictionary: AnyDictionary) -> None:
        part = without_blocks(dictionary)
        self.m, self.n = part.m, part.n
        values = part.values.astype(np.float64)
        self.values = np.ldexp(values, -int(np.frexp(np.abs(values).max())[1]))
        self.values.flags.writeable = False
        self.rows = part.mask.rows if isinstance(part, Dictionary) else None
        self.terms = self.values.shape[1]  # of an inner product
        self.up = 1 + 64 * (self.m + 64) * _U
        """More than sums of nonnegative terms are off by, and the products of a few of them."""
        self.l1 = float(np.abs(self.values).sum(axis=1).max()) * self.up

    def of(self, supports: NDArray[np.integer]) -> Floats:
        """W_S of each support, (batch, m, k)."""
        batch, k = supports.shape
        if self.rows is None:
            return np.ascontiguousarray(self.values[supports].transpose(0, 2, 1))
        out = np.zeros((batch, self.m, k))
        each, column = np.arange(batch)[:, None, None], np.arange(k)[None, :, None]
        out[each, self.rows[supports], column] = self.values[supports]
        return out


def coefficient_sums(columns: Columns, support: NDArray[np.integer]) -> Floats:
    """||(W_S^T W_S)^{-1} W_S^T w_j||_1 of every column j for one support, (n,), within half the width of its bounds."""
    w = columns.of(support[None])[0]
    product = w @ np.ascontiguousarray(np.linalg.inv(w.T @ w).T)
    if columns.rows is None:
        return np.abs(columns.values @ product).sum(axis=1)
    return np.abs((product[columns.rows] * columns.values[:, :, None]).sum(axis=1)).sum(axis=1)


def erc_bounds(columns: Columns, supports: NDArray[np.integer]) -> Bounds:
    """Bounds of ERC(S) = max_{j notin S} ||(W_S^T W_S)^{-1} W_S^T w_j||_1 that no rounding error can break.

    With X near G^{-1}, G = W_S^T W_S, and rho >= ||I - X G||_1, (1 - rho)/(1 + rho) and its inverse bound the ratio of
    ||G^{-1} b||_1 and ||X b||_1 (Neumann series); sums of products of floats are within gamma_p = p u/(1 - p u) times
    the sums of their moduli, in whatever order they are added (Higham 2002, Section 3.1; Rump 2010 on such
    verifications). Source: THEORY.md OMP-1; Tropp 2004. O(k n d) a support (dense: k n m), and O(k^2 (m + k)).

    Args:
        columns: of the dictionary; no column norm is used, but the statement is of interest for unit columns.
        supports: (batch, k), distinct in each row, k at most m.

    Returns:
        the bounds; both 0 where no column is left outside, ``low`` 0 and ``high`` infinite where nothing can be said.
    """
    batch, k = supports.shape
    low, high = np.zeros(batch), np.full(batch, np.inf)
    step = max(1, _CELLS // (columns.m * k + (columns.n if columns.rows is None else 0) * k))
    for first in range(0, batch, step):
        part = slice(first, min(batch, first + step))
        low[part], high[part] = _bounds(columns, supports[part])
    return Bounds(low, high)


_CELLS = 2**18  # of the arrays of one step


def _bounds(columns: Columns, supports: NDArray[np.integer]) -> tuple[Floats, Floats]:
    k, m, up = supports.shape[1], columns.m, columns.up
    w = columns.of(supports)
    moduli = np.abs(w)
    gram = w.transpose(0, 2, 1) @ w
    inverse, sound = _inverses(gram)
    gram_error = _gamma(m) * _norm1(moduli.transpose(0, 2, 1) @ moduli) + m * k * _TINY
    rest = np.eye(k) - inverse @ gram
    computed = 1 + _norm1(np.abs(inverse) @ np.abs(gram))
    rho = (_norm1(rest) + _gamma(k + 1) * computed + _norm1(inverse) * gram_error) * up
    # ||X W_S^T w_j||_1 = ||P^T w_j||_1 with P = W_S X^T, of which a rounded copy is used.
    transposed = np.ascontiguousarray(inverse.transpose(0, 2, 1))
    product = w @ transposed
    largest = np.zeros(len(supports))
    if columns.rows is not None:
        largest_l1(columns.rows, columns.values, product, supports, largest)
    else:
        for b, support in enumerate(supports):
            sums = np.abs(columns.values @ product[b]).sum(axis=1)
            sums[support] = 0
            largest[b] = sums.max()
    own = _gamma(columns.terms + k + 2) * np.abs(product).sum(axis=2).max(axis=1)
    rounded = _gamma(k) * (moduli @ np.abs(transposed)).sum(axis=2).max(axis=1)
    error = columns.l1 * (own + rounded) * up
    sound &= rho < 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        low = np.where(sound, np.maximum(0, largest - error) / (1 + rho) / up, 0)
        high = np.where(sound, (largest + error) / (1 - rho) * up, np.inf)
    if k == columns.n:
        low[sound], high[sound] = 0, 0
    return low, high


def _inverses(gram: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Approximate inverses of a batch, and which are numbers; the identity for those that are not."""
    try:
        inverse = np.linalg.inv(gram)
    except np.linalg.LinAlgError:
        inverse = np.full_like(gram, np.nan)
        for b, matrix in enumerate(gram):
            if np.linalg.matrix_rank(matrix) == len(matrix):
                inverse[b] = np.linalg.pinv(matrix)
    sound = np.asarray(np.isfinite(inverse).all(axis=(1, 2)))
    inverse[~sound] = np.eye(gram.shape[1])
    return inverse, sound


def _norm1(matrices: Floats) -> Floats:
    """Largest column sum of moduli of each matrix."""
    return np.abs(matrices).sum(axis=1).max(axis=1)


def _gamma(count: int) -> float:
    return count * _U / (1 - count * _U)
