"""Orthogonal matching pursuit, one signal at a time, least squares in coefficient space.

With G_S = L L^T (Cholesky, grown by one row a step), z = L^{-1} W_S^T h and L^T c = z, the residual
is h - W_S c, recomputed from h at every step so that errors do not accumulate. A step costs one
correlation (O(dn) or O(mn)) plus O(t^2 + td). Ties go to the lowest index.
"""

import numpy as np
from numba import njit

SPARSITY_REACHED, RESIDUAL_SMALL, DEPENDENT_ATOM, NO_CORRELATION = 0, 1, 2, 3


@njit(cache=True)
def _grow_cholesky(factor, t, norm2, tolerance):
    """Turn row t of ``factor``, holding w_t^T W_S, into the next row of L; False if w_t is in span W_S."""
    pivot = norm2
    for i in range(t):
        entry = factor[t, i]
        for l in range(i):
            entry -= factor[t, l] * factor[i, l]
        entry /= factor[i, i]
        factor[t, i] = entry
        pivot -= entry * entry
    if not pivot > tolerance:
        return False
    factor[t, t] = np.sqrt(pivot)
    return True


@njit(cache=True)
def _solve(factor, t, target, z, c):
    """Extend L z = W_S^T h by its row t (right-hand side ``target``), then solve L^T c = z."""
    for l in range(t):
        target -= factor[t, l] * z[l]
    z[t] = target / factor[t, t]
    for i in range(t, -1, -1):
        total = z[i]
        for l in range(i + 1, t + 1):
            total -= factor[l, i] * c[l]
        c[i] = total / factor[i, i]


@njit(cache=True)
def _largest_modulus(scores, taken):
    best, atom = scores.dtype.type(-1), -1
    for j in range(scores.size):
        if abs(scores[j]) > best and not taken[j]:
            best, atom = abs(scores[j]), j
    return atom


@njit(cache=True)
def _correlate(rows, values, residual, scores):
    """scores = W^T residual."""
    if rows.size == 0:
        np.dot(values, residual, scores)
        return
    for j in range(rows.shape[0]):
        total = scores.dtype.type(0)
        for i in range(rows.shape[1]):
            total += values[j, i] * residual[rows[j, i]]
        scores[j] = total


@njit(cache=True)
def _spread(rows, values, atom, column):
    """column = w_atom."""
    if rows.size == 0:
        column[:] = values[atom]
        return
    column[:] = 0
    for i in range(rows.shape[1]):
        column[rows[atom, i]] = values[atom, i]


@njit(cache=True)
def _product(rows, values, j, column):
    """<w_j, column>."""
    if rows.size == 0:
        return np.dot(values[j], column)
    total = column.dtype.type(0)
    for i in range(rows.shape[1]):
        total += values[j, i] * column[rows[j, i]]
    return total


@njit(cache=True)
def _subtract(rows, values, j, coefficient, residual):
    """residual -= coefficient w_j."""
    if rows.size == 0:
        for i in range(residual.size):
            residual[i] -= coefficient * values[j, i]
    else:
        for i in range(rows.shape[1]):
            residual[rows[j, i]] -= coefficient * values[j, i]


@njit(cache=True)
def omp(rows, values, h, k, relative_tolerance, pivot_tolerance, indices, coefficients, steps, status, residuals):
    """OMP with unit columns; fills one row of every output per signal.

    ``values`` is (n, d) with ``rows`` (n, d), or (n, m) with empty ``rows`` for a dense dictionary.
    """
    n, m = values.shape[0], h.shape[1]
    dtype = h.dtype
    residual = np.empty(m, dtype)
    column = np.empty(m, dtype)
    scores = np.empty(n, dtype)
    factor = np.empty((k, k), dtype)
    z = np.empty(k, dtype)
    taken = np.zeros(n, np.bool_)
    for b in range(h.shape[0]):
        signal, support, c = h[b], indices[b], coefficients[b]
        residual[:] = signal
        left = np.sqrt(np.dot(signal, signal))
        floor = relative_tolerance * left
        size = 0
        status[b] = SPARSITY_REACHED
        while size < k and left > floor:
            _correlate(rows, values, residual, scores)
            atom = _largest_modulus(scores, taken)
            if scores[atom] == 0:
                status[b] = NO_CORRELATION
                break
            _spread(rows, values, atom, column)
            for t in range(size):
                factor[size, t] = _product(rows, values, support[t], column)
            if not _grow_cholesky(factor, size, np.dot(column, column), pivot_tolerance):
                status[b] = DEPENDENT_ATOM
                break
            _solve(factor, size, np.dot(column, signal), z, c)
            support[size] = atom
            taken[atom] = True
            size += 1
            residual[:] = signal
            for t in range(size):
                _subtract(rows, values, support[t], c[t], residual)
            left = np.sqrt(np.dot(residual, residual))
        if left <= floor:
            status[b] = RESIDUAL_SMALL
        for t in range(size):
            taken[support[t]] = False
        steps[b] = size
        residuals[b] = left
