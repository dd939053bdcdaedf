"""Compressive sampling matching pursuit (Needell and Tropp 2009).

A step costs one correlation with all columns, O(n d) on a mask and O(n m) dense, and a least squares on at most 3 k
atoms, O(k^2 (k + d)). The support does not grow from step to step, so the code may come back to where it was; such a
cycle is found (Brent) and the steps that would only go around it are left out.
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
def cosamp(columns, h, k, limit, tolerance, pivot_tolerance, found):
    """CoSaMP with unit columns; fills one row of ``found`` per signal."""
    n, m = columns.values.shape[0], h.shape[1]
    residual = np.empty(m, h.dtype)
    scores = np.empty(n, h.dtype)
    picks, moduli = np.empty(min(2 * k, n), np.int64), np.empty(min(2 * k, n), h.dtype)
    fit = new_fit(min(3 * k, m), h[0])
    for b in range(h.shape[0]):
        # Start from the empty code: the residual is the signal.
        signal, support, c = h[b], found.indices[b], found.coefficients[b]
        residual[:] = signal
        left = norm(residual)
        floor = tolerance * left
        size, step, end = 0, 0, limit
        mark, marked, moved = np.empty(0, np.int64), 0, False  # candidates of an earlier step, and changes since then
        while True:
            if left <= floor:
                status = RESIDUAL_SMALL
                break
            if step == end:
                status, step = ITERATION_LIMIT, limit
                break
            # Identify: the 2 k columns of largest |<w_j, r>|, beside the present support.
            correlate(columns, residual, scores)
            for j in range(n):
                scores[j] = abs(scores[j])
            k_largest(scores, picks, moduli)
            candidates = merge(picks, moduli, support[:size])
            if candidates.size == 0:
                status = NO_CORRELATION
                break
            if np.array_equal(candidates, mark):  # they determine the fit, and so all that follows: a cycle
                if not moved:
                    status = SUPPORT_STABLE
                    break
                end = step + (limit - step) % (step - marked)
                mark = np.empty(0, np.int64)
                if step == end:  # whole turns of the cycle lead to the limit itself: nothing is left to do
                    continue
            elif end == limit and (step & (step - 1)) == 0:  # Brent: marks at powers of two meet every cycle
                mark, marked, moved = candidates, step, False
            # Estimate: least squares on all candidates; those in the span of the ones before are left out.
            fitted = 0
            for j in candidates:
                if include(columns, signal, j, fitted, pivot_tolerance, fit):
                    fitted += 1
            solve(columns, signal, fitted, fit, residual)
            # Prune to the k largest coefficients. They are not fitted anew, so the residual is that of the pruned code.
            before = np.sort(support[:size])
            size = prune(fit, fitted, support, c)
            if step > marked and not np.array_equal(before, np.sort(support[:size])):
                moved = True
            left = residual_of(columns, signal, support, c, size, residual)
            step += 1
        found.steps[b] = size
        found.status[b] = status
        found.iterations[b] = step
        found.residuals[b] = left
