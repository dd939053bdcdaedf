"""Subspace pursuit (Dai and Milenkovic 2009).

A step costs one correlation with all columns, O(n d) on a mask and O(n m) dense, and two least squares, on at most 2 k
and k atoms, O(k^2 (k + d)). Residuals fall from step to step, so that no support comes back.
"""

import numpy as np

from expander_theory._kernels.pursuits.atoms import (
    ITERATION_LIMIT,
    NO_CORRELATION,
    RESIDUAL_SMALL,
    SUPPORT_STABLE,
    correlate,
    norm,
    residual_of,
)
from expander_theory._kernels.pursuits.least_squares import include, new_fit, prune, solve
from expander_theory._kernels.pursuits.select import k_largest, merge
from expander_theory.base import njit


@njit(cache=True, nogil=True)
def subspace_pursuit(columns, h, k, limit, tolerance, pivot_tolerance, found):
    """Subspace pursuit with unit columns; fills one row of ``found`` per signal."""
    n, m = columns.values.shape[0], h.shape[1]
    residual, trial = np.empty(m, h.dtype), np.empty(m, h.dtype)
    scores = np.empty(n, h.dtype)
    picks, moduli = np.empty(k, np.int64), np.empty(k, h.dtype)
    kept, values = np.empty(k, np.int32), np.empty(k, h.dtype)
    fit = new_fit(min(2 * k, m), h[0])
    for b in range(h.shape[0]):
        # Start from the empty code: the residual is the signal, and the candidates are the k largest |W^T h|.
        signal, support, c = h[b], found.indices[b], found.coefficients[b]
        residual[:] = signal
        left = norm(residual)
        floor = tolerance * left
        size, step = 0, 0
        while True:
            if left <= floor:
                status = RESIDUAL_SMALL
                break
            if step == limit:
                status = ITERATION_LIMIT
                break
            # Expand: the k columns of largest |<w_j, r>|, beside the present support.
            correlate(columns, residual, scores)
            for j in range(n):
                scores[j] = abs(scores[j])
            k_largest(scores, picks, moduli)
            candidates = merge(picks, moduli, support[:size])
            if candidates.size == 0:
                status = NO_CORRELATION
                break
            # Shrink: least squares on the candidates, of which the k largest coefficients remain, fitted anew.
            count = _fit(columns, signal, candidates, pivot_tolerance, fit, kept, values, trial)
            if candidates.size > k:
                count = _fit(columns, signal, np.sort(kept[:count]), pivot_tolerance, fit, kept, values, trial)
            now = residual_of(columns, signal, kept, values, count, trial)
            # Only a residual that falls is accepted; otherwise the previous support stays.
            if not now < left:
                status = SUPPORT_STABLE
                break
            size, left = count, now
            support[:] = kept
            c[:] = values
            residual[:] = trial
            step += 1
        found.steps[b] = size
        found.status[b] = status
        found.iterations[b] = step
        found.residuals[b] = left


@njit(cache=True, nogil=True)
def _fit(columns, signal, atoms, pivot_tolerance, fit, support, c, residual):
    """Least squares on ``atoms``, and its k largest coefficients as the code, decreasing; returns how many."""
    fitted = 0
    for j in atoms:
        if include(columns, signal, j, fitted, pivot_tolerance, fit):
            fitted += 1
    solve(columns, signal, fitted, fit, residual)
    return prune(fit, fitted, support, c)
