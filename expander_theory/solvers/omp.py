"""Orthogonal matching pursuit."""

import numpy as np
from numpy.typing import ArrayLike

from expander_theory._kernels import omp as kernel
from expander_theory.dictionary import AnyDictionary, Dictionary, checked_signals
from expander_theory.errors import require
from expander_theory.solvers.recovery import (
    Recovery,
    empty_recovery,
    from_unit_range,
    require_sparsity,
    require_unit_columns,
    to_unit_range,
)


def omp(dictionary: AnyDictionary, signals: ArrayLike, k: int, *, relative_tolerance: float | None = None) -> Recovery:
    """At most k greedy steps: the atom of largest |w_j^T r|, then least squares on all chosen atoms.

    Ties go to the lowest index. A signal stops early when ||r|| <= relative_tolerance ||h||.
    Source: Pati et al. 1993; recovery conditions in THEORY.md OMP-1 to OMP-7.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: bad signals, k, tolerance, or columns that are not of unit norm.
    """
    h, exponents = to_unit_range(checked_signals("signals", signals, dictionary.m))
    require_sparsity(dictionary, k)
    require_unit_columns(dictionary)
    epsilon = float(np.finfo(h.dtype).eps)
    tolerance = 100 * epsilon if relative_tolerance is None else relative_tolerance
    require(0 <= tolerance < 1, "relative_tolerance", relative_tolerance, "must be in [0, 1)")
    out = empty_recovery(dictionary.n, h.shape[0], int(k), h.dtype)
    typed = dictionary.astype(h.dtype)
    rows = typed.mask.rows if isinstance(typed, Dictionary) else np.empty((0, 0), np.int32)
    limits = (int(k), h.dtype.type(tolerance), h.dtype.type(10 * k * epsilon))
    outputs = (out.indices, out.coefficients, out.steps, out.status, out.residual_norms)
    kernel.omp(rows, typed.values, h, *limits, *outputs)
    return from_unit_range(out, exponents)
