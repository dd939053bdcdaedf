"""OMP on dense columns by matrix products: the correlations of a block of signals come from one call of the BLAS.

For dictionaries whose Gram matrix is too large to hold, or too few signals to be worth it. The step of every signal of
the block is done here, between two products. A step costs n m multiply-adds a signal in the BLAS, and O(n + t m) here.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.omp import pursuit as p
from expander_theory.base import njit


class Block(NamedTuple):
    """Residuals (count, m) of signals side by side, ||h||^2, status of each, U of each by rows and by columns."""

    residuals: Any
    norms2: Any
    running: Any
    upper: Any
    lower: Any


def new_block(count: int, k: int, m: int, dtype: Any) -> Block:
    """Workspace for so many signals and sparsity up to k."""
    upper, lower = np.zeros((count, k, k), dtype), np.zeros((count, k, k), dtype)
    return Block(np.empty((count, m), dtype), np.empty(count), np.empty(count, np.int8), upper, lower)


@njit(cache=True, nogil=True)
def begin(signals, rule, first, block):
    """Load signals first, first + 1, ... into the rows of the block."""
    h, scales, ks, _, _ = signals
    residuals, norms2, running, _, _ = block
    own = np.empty((residuals.shape[1], 1), residuals.dtype)
    for i in range(residuals.shape[0]):
        norms2[i] = p.load(h, scales, first + i, own, 0)
        residuals[i] = own[:, 0]
        running[i] = p.state(rule.tolerance, norms2[i], norms2[i], 0, ks[first + i])


@njit(cache=True, nogil=True)
def advance(values, correlations, signals, rule, found, first, block, scratch):
    """One step of every running signal, by the correlations (count, n) of the residuals; returns how many run on."""
    _h, _scales, ks, given, planted = signals
    tolerance, pivot, signed = rule
    indices, coefficients, steps, _status, _final, coefficient_path, residual_path = found
    residuals, norms2, running, upper, lower = block
    g, v, u, _spread, _q, _touched, _stamp, own = scratch
    active = 0
    for i in range(residuals.shape[0]):
        if running[i] != p.RUNNING:
            continue
        # Select: the atom given for this step, or the best outside the support.
        b = first + i
        t = steps[b]
        forced = t < given.shape[1] and given[b, t] >= 0
        atom = np.int64(given[b, t]) if forced else _best(correlations, i, indices, b, t, signed)
        score = correlations[i, atom]
        if not forced and (score == 0 or (signed and score < 0)):
            running[i] = p.NO_CORRELATION
            continue
        if planted.shape[1] and not p.holds(planted, b, planted.shape[1], atom):
            running[i] = p.FIRST_MISS
            continue
        # Overlaps with the support, g = W_S^T w; orthogonalise against it, appending to U.
        own[:, 0] = values[atom]
        for l in range(t):
            g[l] = p.inner(None, values, indices[b, l], own, 0)
        rho = p.extend(upper, lower, i, t, values.dtype.type(p.norm_squared(own)), pivot, g, v, u)
        if rho == 0:
            running[i] = p.DEPENDENT_ATOM
            continue
        # The direction q = w + W_S u in place of w, and the residual moves along it; its norm is summed on the way.
        step = score / rho
        for l in range(t):
            p.subtract(None, values, indices[b, l], -u[l], own, 0)
        left2 = 0.0
        for row in range(own.shape[0]):
            residuals[i, row] -= step * own[row, 0]
            left2 += float(residuals[i, row]) * float(residuals[i, row])
        p.move(indices, coefficients, steps, b, atom, step, t, u)
        p.record(coefficients, steps, coefficient_path, residual_path, b, left2)
        running[i] = p.state(tolerance, norms2[i], left2, t + 1, ks[b])
        active += running[i] == p.RUNNING
    return active


@njit(cache=True, nogil=True)
def end(values, signals, rule, found, first, block, scratch):
    """Refine what was found and write status and residual norms."""
    residuals, _norms2, running, upper, lower = block
    h, scales, _, _, _ = signals
    indices, coefficients, steps, status, final, coefficient_path, residual_path = found
    _, v, u, _, _, _, _, own = scratch
    for i in range(residuals.shape[0]):
        p.finish(
            None, values, h, scales, first + i, running[i], rule.tolerance, indices, coefficients, steps, status, final,
            coefficient_path, residual_path, own, upper, lower, i, v, u,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _best(correlations, i, indices, b, t, signed):
    """The best atom outside the support for residual i; the lowest among equals."""
    best, atom = correlations.dtype.type(-np.inf), np.int64(0)
    for j in range(correlations.shape[1]):
        value = correlations[i, j] if signed else abs(correlations[i, j])
        if value > best and not p.holds(indices, b, t, j):
            best, atom = value, np.int64(j)
    return atom
