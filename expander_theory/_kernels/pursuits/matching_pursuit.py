"""Matching pursuit: one coefficient a step, no least squares. A step costs one correlation, O(n d) or dense O(n m)."""

import numpy as np

from expander_theory._kernels.pursuits.atoms import (
    ITERATION_LIMIT,
    NO_CORRELATION,
    RESIDUAL_SMALL,
    SPARSITY_REACHED,
    correlate,
    norm,
    residual_of,
    subtract,
)
from expander_theory.base import njit


@njit(cache=True, nogil=True)
def matching_pursuit(columns, h, k, limit, tolerance, found):
    """MP with unit columns; fills one row of ``found`` per signal."""
    n = columns.values.shape[0]
    residual = np.empty(h.shape[1], h.dtype)
    scores = np.empty(n, h.dtype)
    place = np.full(n, -1, np.int64)  # of an atom in the code
    for b in range(h.shape[0]):
        support, c = found.indices[b], found.coefficients[b]
        residual[:] = h[b]
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
            # Select the column of largest |<w_j, r>|; the same one may come again.
            correlate(columns, residual, scores)
            atom = _largest_modulus(scores)
            if scores[atom] == 0:
                status = NO_CORRELATION
                break
            # A column that is new to the code takes one of its k places.
            if place[atom] < 0:
                if size == k:
                    status = SPARSITY_REACHED
                    break
                place[atom] = size
                support[size] = atom
                size += 1
            # Unit columns: <w, r> is the step that makes r orthogonal to w. Other coefficients stay as they are.
            c[place[atom]] += scores[atom]
            subtract(columns, atom, scores[atom], residual)
            left = norm(residual)
            step += 1
        # Leave the marks clean; the residual is computed from the code, free of what the steps have summed up.
        for t in range(size):
            place[support[t]] = -1
        found.steps[b] = size
        found.status[b] = status
        found.iterations[b] = step
        found.residuals[b] = residual_of(columns, h[b], support, c, size, residual)


@njit(cache=True, nogil=True)
def _largest_modulus(scores):
    best = 0
    for j in range(scores.size):
        if abs(scores[j]) > abs(scores[best]):
            best = j
    return best
