"""The tied TopK encoder: one correlation, the k largest, no least squares."""

import numpy as np
from numpy.typing import ArrayLike

from expander_theory._kernels.select import k_largest
from expander_theory.dictionary import AnyDictionary, checked_signals
from expander_theory.solvers.recovery import (
    Recovery,
    RecoveryStatus,
    empty_recovery,
    from_unit_range,
    require_sparsity,
    require_unit_columns,
    to_unit_range,
)


def topk(dictionary: AnyDictionary, signals: ArrayLike, k: int, *, signed: bool = False) -> Recovery:
    """The one-step encoder of a tied SAE: c = W^T h, kept on its k largest entries.

    Exact under a limit on the dynamic range of the code (THEORY.md TOPK-1, TOPK-1n); coefficients
    are the correlations themselves. Ties go to the lowest index.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating.
        k: sparsity, 1..min(m, n).
        signed: choose the largest values (the SAE convention) instead of the largest moduli.

    Raises:
        InvalidArgument: bad signals or k, or columns that are not of unit norm.
    """
    h, exponents = to_unit_range(checked_signals("signals", signals, dictionary.m))
    require_sparsity(dictionary, k)
    require_unit_columns(dictionary)
    typed = dictionary.astype(h.dtype)
    out = empty_recovery(dictionary.n, h.shape[0], int(k), h.dtype)
    scores = np.empty(int(k), h.dtype)
    for b in range(h.shape[0]):
        correlation = typed.rmatvec(h[b])
        k_largest(correlation if signed else np.abs(correlation), out.indices[b], scores)
        out.coefficients[b] = correlation[out.indices[b]]
    out.steps[:] = k
    out.status[:] = RecoveryStatus.SPARSITY_REACHED
    residual = h - typed.matvec(out.to_dense())
    out.residual_norms[:] = np.linalg.norm(residual, axis=1)
    return from_unit_range(out, exponents)
