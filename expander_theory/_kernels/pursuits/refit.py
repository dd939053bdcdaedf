"""From codes of any length to their k largest entries, as they are or fitted anew."""

import numpy as np

from expander_theory._kernels.pursuits.atoms import norm, residual_of, squared_norm
from expander_theory._kernels.pursuits.least_squares import include, new_fit, prune, solve
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory.base import njit


@njit(cache=True, nogil=True)
def keep_largest(columns, h, x, refit, pivot_tolerance, found):
    """The k largest |x_j| of every code (batch, n), and with ``refit`` least squares on them; O(n + k^2 (k + d)).

    Fills atoms, coefficients (decreasing moduli), steps and residual norms of ``found``, which is k wide. An atom in
    the span of those of lower index, with a squared distance of ``pivot_tolerance`` of its own norm, is left out.
    """
    k = found.indices.shape[1]
    picks, moduli = np.empty(k, np.int64), np.empty(k, x.dtype)
    residual = np.empty(h.shape[1], h.dtype)
    fit = new_fit(k if refit else 0, residual)
    for b in range(h.shape[0]):
        signal, support, c = h[b], found.indices[b], found.coefficients[b]
        if k == 0:
            found.residuals[b] = norm(signal)
            continue
        k_largest(np.abs(x[b]), picks, moduli)
        size = 0
        while size < k and moduli[size] > 0:
            size += 1
        if refit:
            fitted = 0
            for j in np.sort(picks[:size]):
                if include(columns, signal, j, fitted, pivot_tolerance * squared_norm(columns, j), fit):
                    fitted += 1
            solve(columns, signal, fitted, fit, residual)
            size = prune(fit, fitted, support, c)
        else:
            for t in range(size):
                support[t], c[t] = picks[t], x[b, picks[t]]
        found.residuals[b] = residual_of(columns, signal, support, c, size, residual)
        found.steps[b] = size
