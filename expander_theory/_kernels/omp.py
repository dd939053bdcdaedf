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
def omp_masked(
    rows, values, h, k, relative_tolerance, pivot_tolerance, indices, coefficients, steps, status, residuals
):
    """OMP with a masked dictionary of unit columns; fills one row of every output per signal."""
    m = h.shape[1]
    n, d = rows.shape
    dtype = h.dtype
    residual = np.empty(m, dtype)
    scores = np.empty(n, dtype)
    spread = np.zeros(m, dtype)  # the new column, scattered
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
            for j in range(n):
                total = dtype.type(0)
                for i in range(d):
                    total += values[j, i] * residual[rows[j, i]]
                scores[j] = total
            atom = _largest_modulus(scores, taken)
            if scores[atom] == 0:
                status[b] = NO_CORRELATION
                break
            norm2, target = dtype.type(0), dtype.type(0)
            for i in range(d):
                spread[rows[atom, i]] = values[atom, i]
                norm2 += values[atom, i] * values[atom, i]
                target += values[atom, i] * signal[rows[atom, i]]
            for t in range(size):
                product = dtype.type(0)
                for i in range(d):
                    product += values[support[t], i] * spread[rows[support[t], i]]
                factor[size, t] = product
            for i in range(d):
                spread[rows[atom, i]] = 0
            if not _grow_cholesky(factor, size, norm2, pivot_tolerance):
                status[b] = DEPENDENT_ATOM
                break
            _solve(factor, size, target, z, c)
            support[size] = atom
            taken[atom] = True
            size += 1
            residual[:] = signal
            for t in range(size):
                for i in range(d):
                    residual[rows[support[t], i]] -= c[t] * values[support[t], i]
            left = np.sqrt(np.dot(residual, residual))
        if left <= floor:
            status[b] = RESIDUAL_SMALL
        for t in range(size):
            taken[support[t]] = False
        steps[b] = size
        residuals[b] = left


@njit(cache=True)
def omp_dense(columns, h, k, relative_tolerance, pivot_tolerance, indices, coefficients, steps, status, residuals):
    """OMP with a dense dictionary of unit columns, ``columns`` (n, m); outputs as in :func:`omp_masked`."""
    m = h.shape[1]
    n = columns.shape[0]
    dtype = h.dtype
    residual = np.empty(m, dtype)
    scores = np.empty(n, dtype)
    factor = np.empty((k, k), dtype)
    chosen = np.empty((k, m), dtype)
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
            np.dot(columns, residual, scores)
            atom = _largest_modulus(scores, taken)
            if scores[atom] == 0:
                status[b] = NO_CORRELATION
                break
            new = columns[atom]
            for t in range(size):
                factor[size, t] = np.dot(chosen[t], new)
            if not _grow_cholesky(factor, size, np.dot(new, new), pivot_tolerance):
                status[b] = DEPENDENT_ATOM
                break
            _solve(factor, size, np.dot(new, signal), z, c)
            chosen[size] = new
            support[size] = atom
            taken[atom] = True
            size += 1
            residual[:] = signal
            for t in range(size):
                for i in range(m):
                    residual[i] -= c[t] * chosen[t, i]
            left = np.sqrt(np.dot(residual, residual))
        if left <= floor:
            status[b] = RESIDUAL_SMALL
        for t in range(size):
            taken[support[t]] = False
        steps[b] = size
        residuals[b] = left
