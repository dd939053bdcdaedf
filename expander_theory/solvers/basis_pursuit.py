"""Basis pursuit as a linear programme: the reference for what l1 minimisation recovers, not a fast solver."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from expander_theory.base import require
from expander_theory.dictionaries import AnyDictionary, Floats, checked_signals
from expander_theory.solvers.recovery import (
    Recovery,
    RecoveryStatus,
    empty_recovery,
    from_unit_range,
    require_sparsity,
    to_unit_range,
)

if TYPE_CHECKING:
    import scipy.sparse

FEASIBILITY = 1e-9
"""Primal and dual tolerance of the linear programme, for signals and a matrix with largest moduli in [1/2, 1)."""


def basis_pursuit(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int | None = None,
    *,
    nonnegative: bool = False,
    zero_tolerance: float = 1e-8,
) -> Recovery:
    """min ||x||_1 subject to W x = h (nonnegative: and x >= 0), then the k largest |x_j| of the minimiser.

    The minimiser is a vertex, so it has at most m nonzeros; where there are several it is one of them. The constraint
    is exact: a noisy signal is fitted with its noise. A signal outside the range of W (of the cone of its columns)
    has status FAILED and the code zero, as has one on which HiGHS gives up. All others are OPTIMAL, also where the k
    entries kept leave a residual. ``iterations`` are those of HiGHS. Atoms are in the order of decreasing |x_j|, ties
    to the lowest index. Recovery conditions: THEORY.md NSP-1 to NSP-3, L1-ERC.
    Source: Chen, Donoho, Saunders 1998; one programme of 2n variables a signal, in float64.

    Args:
        dictionary: columns of any norm, but entries below 1e-9 of the largest count as zero for HiGHS.
        signals: (batch, m) or (m,), floating; the code has the dtype of float32 signals.
        k: entries kept, 1..min(m, n); None keeps all.
        zero_tolerance: entries of modulus at most this times max |x_j| are no part of the code.

    Raises:
        InvalidArgument: bad signals, k or zero_tolerance.
    """
    given = checked_signals("signals", signals, dictionary.m)
    if k is not None:
        require_sparsity(dictionary, k)
    require(0 <= zero_tolerance < 1, "zero_tolerance", zero_tolerance, "must be in [0, 1)")
    h, exponents = to_unit_range(given.astype(np.float64))
    matrix = dictionary.astype(np.float64).to_scipy()
    scale = int(np.frexp(np.abs(matrix.data).max())[1])
    matrix.data = np.ldexp(matrix.data, -scale)
    solved = [_minimiser(matrix, dictionary.n, signal, nonnegative) for signal in h]
    codes = np.stack([x for x, _, _ in solved]) if solved else np.zeros((0, dictionary.n))
    codes[np.abs(codes) <= zero_tolerance * np.abs(codes).max(axis=1, keepdims=True, initial=0)] = 0
    width = int(k) if k is not None else int(np.count_nonzero(codes, axis=1).max(initial=0))
    out = empty_recovery(dictionary.n, len(h), width, h.dtype)
    for b, (_, status, _) in enumerate(solved):
        order = np.argsort(-np.abs(codes[b]), kind="stable")[:width]
        order = order[codes[b, order] != 0]
        size = order.size
        out.indices[b, :size], out.coefficients[b, :size] = order, codes[b, order]
        out.steps[b], out.status[b] = size, status
        out.residual_norms[b] = np.linalg.norm(h[b] - matrix[:, order] @ codes[b, order])
    out = from_unit_range(out, exponents, exponents - scale)
    return replace(
        out,
        coefficients=out.coefficients.astype(given.dtype),
        residual_norms=out.residual_norms.astype(given.dtype),
        iterations=np.array([iterations for _, _, iterations in solved], np.int32),
    )


def _minimiser(
    matrix: scipy.sparse.csc_array, n: int, h: Floats, nonnegative: bool
) -> tuple[Floats, RecoveryStatus, int]:
    """A minimiser (zero if there is none), its status, and the iterations that it took."""
    import scipy.sparse
    from scipy.optimize import linprog

    halves = matrix if nonnegative else scipy.sparse.hstack([matrix, -matrix], format="csc")
    options = {"primal_feasibility_tolerance": FEASIBILITY, "dual_feasibility_tolerance": FEASIBILITY}
    found: Any = linprog(np.ones(n if nonnegative else 2 * n), A_eq=halves, b_eq=h, method="highs", options=options)
    if found.status != 0:
        return np.zeros(n), RecoveryStatus.FAILED, int(found.nit)
    x = found.x if nonnegative else found.x[:n] - found.x[n:]
    if np.abs(h - matrix @ x).max() > 1e3 * FEASIBILITY:  # HiGHS has solved another programme: dropped entries
        return np.zeros(n), RecoveryStatus.FAILED, int(found.nit)
    return x, RecoveryStatus.OPTIMAL, int(found.nit)
