"""Sparse matching pursuit: the median estimates of all columns at once, again and again.

Source: Berinde, Indyk and Ruzic 2008. An iteration costs n medians of d ratios, O(n d^2) since they are sorted by
insertion, and passes over n entries.
"""

import numpy as np

from expander_theory._kernels.pursuits.atoms import (
    FAILED,
    ITERATION_LIMIT,
    RESIDUAL_SMALL,
    SUPPORT_STABLE,
    norm,
    residual_of,
)
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory._kernels.pursuits.ssmp import least_median, prune
from expander_theory.base import njit

DIVERGED = 1e6
"""A residual of this many times the l1 norm of the signal will not come back."""


@njit(cache=True, nogil=True)
def smp(columns, h, k, limit, tolerance, found):
    """SMP on masked columns; fills one row of ``found`` per signal."""
    n, d = columns.rows.shape
    residual = np.empty(h.shape[1], h.dtype)
    x, before = np.zeros(n, h.dtype), np.empty(n, h.dtype)
    estimates, moduli = np.empty(n, h.dtype), np.empty(n, h.dtype)
    ratios, weights = np.empty(d, h.dtype), np.empty(d, h.dtype)
    picks, values = np.empty(min(2 * k, n), np.int64), np.empty(min(2 * k, n), h.dtype)
    for b in range(h.shape[0]):
        # Start from x = 0: the residual is the signal.
        signal, support, c = h[b], found.indices[b], found.coefficients[b]
        residual[:] = signal
        x[:] = 0
        total = left = np.abs(signal).sum()
        size, step, stable = 0, 0, False
        while True:
            if left <= tolerance * total:
                status = RESIDUAL_SMALL
                break
            if stable:
                status = SUPPORT_STABLE
                break
            if not left <= DIVERGED * total:
                status, size = FAILED, 0
                support[:] = -1
                c[:] = 0
                residual[:] = signal
                break
            if step == limit:
                status = ITERATION_LIMIT
                break
            # Every column estimates how much its coefficient is off; the 2 k largest estimates are believed.
            for j in range(n):
                estimates[j] = least_median(columns, residual, j, ratios, weights)
                moduli[j] = abs(estimates[j])
            k_largest(moduli, picks, values)
            before[:] = x
            for j in picks:
                x[j] += estimates[j]
            size = prune(x, k, support, c)
            residual_of(columns, signal, support, c, size, residual)
            left = np.abs(residual).sum()
            stable = np.abs(x - before).max() <= tolerance * np.abs(x).max()
            step += 1
        found.steps[b] = size
        found.status[b] = status
        found.iterations[b] = step
        found.residuals[b] = norm(residual)
