"""The tied TopK encoder: one correlation, the k largest, no least squares."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from expander_theory._kernels.linear.vectors import BLOCK_BYTES, aligned, correlations, lanes_of
from expander_theory._kernels.pursuits import topk as kernel
from expander_theory._kernels.pursuits.atoms import Columns
from expander_theory.dictionaries import AnyDictionary, Floats, checked_signals, without_blocks
from expander_theory.solvers._problem import columns_of
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
    """The one-step encoder of a tied SAE: c = W^T h, kept on its k largest entries, in decreasing order.

    Exact under a limit on the dynamic range of the code (THEORY.md TOPK-1, TOPK-1n); coefficients
    are the correlations themselves. Ties go to the lowest index. O(dn) a signal, O(mn) if dense or of blocks.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are encoded in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        signed: choose the largest values (the SAE convention) instead of the largest moduli.

    Raises:
        InvalidArgument: bad signals or k, or columns that are not of unit norm.
    """
    h, exponents = to_unit_range(checked_signals("signals", signals, dictionary.m))
    require_sparsity(dictionary, k)
    require_unit_columns(dictionary)
    out = empty_recovery(dictionary.n, h.shape[0], int(k), h.dtype)
    columns, n = columns_of(without_blocks(dictionary), h.dtype), dictionary.n
    for first, scores in _scores(columns, h):
        part = slice(first, min(first + len(scores), len(h)))
        indices, coefficients = out.indices[part], out.coefficients[part]
        known = scores[: len(indices), :n]
        floor = np.partition(known if signed else np.abs(known), n - k, axis=1)[:, n - k].copy()
        kernel.collect(scores, n, signed, floor, indices, coefficients)
        order = np.argsort(-coefficients if signed else -np.abs(coefficients), axis=1, kind="stable")
        indices[:] = np.take_along_axis(indices, order, axis=1)
        coefficients[:] = np.take_along_axis(coefficients, order, axis=1)
    out.steps[:] = k
    out.status[:] = RecoveryStatus.SPARSITY_REACHED
    kernel.residual_norms(columns, h, out.indices, out.coefficients, out.residual_norms)
    return from_unit_range(out, exponents)


def _scores(columns: Columns, h: Floats) -> Iterator[tuple[int, Floats]]:
    """W^T h of a few signals at a time: the first one, and correlations (signals, n), overwritten by the next ones.

    There may be more of both, for the width of the kernel: of no signal, of no column.
    """
    rows, values = columns
    n, m, lanes = len(values), h.shape[1], lanes_of(h.dtype)
    if rows.size == 0:
        for first in range(0, len(h), _DENSE):
            yield first, h[first : first + _DENSE] @ values.T
        return
    missing = -n % (BLOCK_BYTES // h.dtype.itemsize)
    if missing:
        rows, values = (np.concatenate([v, np.zeros((missing, v.shape[1]), v.dtype)]) for v in (rows, values))
    tile, scores = aligned((m, lanes), h.dtype), aligned((lanes, n + missing), h.dtype)
    tile[:] = 0
    for first in range(0, len(h), lanes):
        used = min(lanes, len(h) - first)
        tile[:, :used] = h[first : first + used].T
        correlations(rows, values, tile, scores)
        yield first, scores


_DENSE = 64
"""Signals in one product with a dense dictionary."""
