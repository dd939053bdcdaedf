"""Spectral lower bounds on neighbourhoods (THEORY.md EXP-5). Floats, weakened by a margin: no part of certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.sparse.linalg

from expander_theory.base import InvalidArgument, require, require_choice, require_int
from expander_theory.masks import Mask

_MARGIN = 1e-9
_DENSE = 256


def spectral_neighbours(mask: Mask, size: int, *, form: Literal["a", "b", "c"] = "a") -> float:
    """A lower bound on |N(S)| over |S| = size, from singular values of the 0/1 matrix B.

    (a) d^2 s^2/(l2 s + (l1 - l2) U_s^2) with l1 >= l2 the top eigenvalues of B^T B and U_s the sum of the s largest
    entries of the top eigenvector; any row degrees. (b) d^2 s/(d^2 s/m + sigma^2), sigma the norm of B - (d/m) 11^T;
    any row degrees. (c) Tanner 1984: d^2 s/((dD - l2)s/n + l2), for rows of equal degree D only.

    At the shapes of SAEs they are vacuous: sigma^2 >= nd(1 - d/m)/(m-1), so (b) certifies eps_s < 1/2 never where
    n(1 - d/m) >= 2(m-1) (EXP-5d). Eigenvalues are taken larger by a relative 1e-9 against rounding.

    Args:
        size: 1..n.
        form: which bound.

    Raises:
        InvalidArgument: size out of range, an unknown form, or (c) for unequal row degrees.
    """
    size = require_int("size", size)
    require(1 <= size <= mask.n, "size", size, f"must be between 1 and n = {mask.n}")
    require_choice("form", form, ("a", "b", "c"))
    m, n, d, s = mask.m, mask.n, mask.d, size
    if form == "b":
        sigma2 = _centred_norm(mask) ** 2 * (1 + _MARGIN)
        return d * d * s / (d * d * s / m + sigma2)
    l1, l2, u = _top_pair(mask)
    l2 *= 1 + _MARGIN
    if form == "a":
        l1 *= 1 + _MARGIN
        top = np.sort(np.abs(u))[::-1][:s].sum() * (1 + _MARGIN)
        # With a repeated top eigenvalue any vector of its space serves, and the second term vanishes.
        return d * d * s * s / (l2 * s + max(0.0, l1 - l2) * top**2)
    degrees = np.unique(mask.row_degrees)
    if degrees.size > 1:
        found = f"from {degrees[0]} to {degrees[-1]}"
        raise InvalidArgument("mask", f"row degrees {found}", "must have rows of equal degree for form c (Tanner)")
    return d * d * s / ((d * int(degrees[0]) - l2) * s / n + l2)


def _top_pair(mask: Mask) -> tuple[float, float, np.ndarray]:
    """The two largest eigenvalues of B^T B and the first one's vector."""
    B = mask.to_scipy()
    if min(mask.m, mask.n) <= _DENSE:
        _, singular, right = np.linalg.svd(B.toarray(), full_matrices=True)
        values = np.append(singular**2, [0.0, 0.0])
        return float(values[0]), float(values[1]), right[0]
    rows = B.T.tocsr()
    first, second = (B, rows) if mask.m <= mask.n else (rows, B)
    values, vectors = _largest(lambda x: first @ (second @ x), min(mask.m, mask.n), 2)
    u = vectors[:, 1] if mask.n < mask.m else rows @ vectors[:, 1]
    return float(values[1]), float(values[0]), u / np.linalg.norm(u)


def _centred_norm(mask: Mask) -> float:
    B = mask.to_scipy()
    share = mask.d / mask.m
    if min(mask.m, mask.n) <= _DENSE:
        return float(np.linalg.norm(B.toarray() - share, 2))
    rows = B.T.tocsr()
    first, second = (B, rows) if mask.m <= mask.n else (rows, B)

    def gram(x: np.ndarray) -> np.ndarray:
        inner = second @ x - share * x.sum()
        return first @ inner - share * inner.sum()

    values, _ = _largest(gram, min(mask.m, mask.n), 1)
    return float(np.sqrt(values[0]))


def _largest(product: Callable[[np.ndarray], np.ndarray], size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` largest eigenvalues of a positive semidefinite operator, increasing, and their vectors.

    From a fixed start, for the same result each time. (``svds`` asks for the square of its tolerance, which no vector
    meets where there are few distinct eigenvalues, as in planes.)
    """
    make: Any = scipy.sparse.linalg.LinearOperator
    operator = make((size, size), dtype=np.float64, matvec=lambda x: product(x.ravel()))
    start = 1 + np.cos(np.arange(size, dtype=np.float64))
    settings: Any = {"v0": start, "tol": 1e-12}
    found: Any = scipy.sparse.linalg.eigsh(operator, k=count, **settings)
    order = np.argsort(found[0])
    return found[0][order], found[1][:, order]
