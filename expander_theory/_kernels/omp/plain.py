"""Orthogonal matching pursuit, one signal at a time: the plain backend, which the fast ones are tested against.

With G_S = L L^T (Cholesky, grown by one row a step), z = L^{-1} W_S^T h and L^T c = z, the residual is h - W_S c,
recomputed from h at every step so that errors do not accumulate. A step costs one correlation (O(dn) or O(mn)) plus
O(t^2 + td). Ties go to the lowest index.
"""

import numpy as np

from expander_theory._kernels.omp import blocks, pursuit as p
from expander_theory.base import njit

MAGNITUDE, SIGNED, NONNEGATIVE = 0, 1, 2


@njit(cache=True, nogil=True)
def omp(rows, values, signals, tolerance, pivot, selection, found):
    """OMP with unit columns; fills one row of ``found`` per signal. Rows and values are as :func:`pursuit.inner` has
    them.

    NONNEGATIVE selects like SIGNED and solves the least squares under c >= 0.
    """
    h, scales, ks, given, planted = signals
    indices, coefficients, steps, status, final, coefficient_path, residual_path = found
    m, most = h.shape[1], indices.shape[1]
    n = blocks.count(rows, values, m) if values.ndim == 1 else values.shape[0]
    dtype = values.dtype
    residual, column, signal = np.empty((m, 1), dtype), np.empty((m, 1), dtype), np.empty((m, 1), dtype)
    factor, gram = np.empty((most, most), dtype), np.empty((most, most), dtype)
    z, c, target = np.empty(most, dtype), np.zeros(most, dtype), np.empty(most, dtype)
    taken = np.zeros(n, np.bool_)
    for b in range(h.shape[0]):
        # At c = 0 the residual is the signal.
        norm2 = p.load(h, scales, b, signal, 0)
        residual[:] = signal
        left2, size = norm2, 0
        reason = p.state(tolerance, norm2, left2, size, ks[b])
        while reason == p.RUNNING:
            # Select: the atom given for this step, or the column outside the support of largest |<w_j, r>|.
            forced = size < given.shape[1] and given[b, size] >= 0
            if forced:
                atom = np.int64(given[b, size])
            else:
                atom, score = _best(rows, values, residual, taken, selection)
                if atom < 0 or score == 0 or (selection != MAGNITUDE and score < 0):
                    reason = p.NO_CORRELATION
                    break
            # Where only success counts, an atom that was not planted decides the signal.
            if planted.shape[1] and not p.holds(planted, b, planted.shape[1], atom):
                reason = p.FIRST_MISS
                break
            # Overlaps of w with the support: the new row of G_S.
            column[:] = 0
            p.subtract(rows, values, atom, dtype.type(-1), column, 0)
            for t in range(size):
                gram[size, t] = p.inner(rows, values, indices[b, t], column, 0)
                gram[t, size] = gram[size, t]
            gram[size, size] = p.norm_squared(column)
            # Append to the factor; an atom in the span of the support ends the pursuit.
            if not _grow_cholesky(factor, gram, size, pivot):
                reason = p.DEPENDENT_ATOM
                break
            # Least squares on the grown support: one more row of L z = W_S^T h, then L^T c = z.
            target[size] = p.inner(rows, values, atom, signal, 0)
            _solve(factor, size, target[size], z, c)
            indices[b, size] = atom
            taken[atom] = True
            size += 1
            # Where all coefficients are nonnegative, so is the constrained minimiser: they are the same.
            if selection == NONNEGATIVE and c[:size].min() < 0:
                _nonnegative(gram, target, size, coefficients[b], c)
            coefficients[b, :size] = c[:size]
            steps[b] = size
            # r = h - W_S c, from the signal itself.
            residual[:] = signal
            for t in range(size):
                p.subtract(rows, values, indices[b, t], c[t], residual, 0)
            left2 = p.norm_squared(residual)
            p.record(coefficients, steps, coefficient_path, residual_path, b, left2)
            reason = p.state(tolerance, norm2, left2, size, ks[b])
        # No atom is taken when the next signal begins.
        for t in range(size):
            taken[indices[b, t]] = False
        status[b] = reason
        final[b] = np.sqrt(left2)


@njit(cache=True, nogil=True)
def _best(rows, values, residual, taken, selection):
    """The best atom not taken, and its correlation; -1 if all are taken."""
    best, atom, found = -np.inf, -1, values.dtype.type(0)
    for j in range(taken.size):
        value = p.inner(rows, values, j, residual, 0)
        score = abs(value) if selection == MAGNITUDE else value
        if score > best and not taken[j]:
            best, atom, found = score, j, value
    return np.int64(atom), found


@njit(cache=True, nogil=True)
def _grow_cholesky(factor, gram, t, tolerance):
    """Row t of L from row t of G; False if the atom is in the span of those before."""
    # L l = g gives the new row l, and ||w||^2 - ||l||^2 is the squared distance of w from the span.
    pivot = gram[t, t]
    for i in range(t):
        entry = gram[t, i]
        for l in range(i):
            entry -= factor[t, l] * factor[i, l]
        entry /= factor[i, i]
        factor[t, i] = entry
        pivot -= entry * entry
    if not pivot > tolerance:
        return False
    factor[t, t] = np.sqrt(pivot)
    return True


@njit(cache=True, nogil=True)
def _solve(factor, t, target, z, c):
    """Extend L z = W_S^T h by its row t (right-hand side ``target``), then solve L^T c = z."""
    for l in range(t):
        target -= factor[t, l] * z[l]
    z[t] = target / factor[t, t]
    # All of c changes, so the back substitution is done in full.
    for i in range(t, -1, -1):
        total = z[i]
        for l in range(i + 1, t + 1):
            total -= factor[l, i] * c[l]
        c[i] = total / factor[i, i]


@njit(cache=True, nogil=True)
def _nonnegative(gram, target, size, start, c):
    """c = argmin ||h - W_S c|| over c >= 0 from a feasible ``start``: the active set of Lawson and Hanson (1974)."""
    # The start is the code of the step before, with the new atom at 0 and free.
    x = np.zeros(size, gram.dtype)
    x[: size - 1] = start[: size - 1]
    free = np.ones(size, np.bool_)
    for t in range(size - 1):
        free[t] = x[t] > 0
    for _ in range(10 * size):
        # Least squares on the free atoms, without the constraint.
        chosen = np.flatnonzero(free)
        part = np.empty((chosen.size, chosen.size), gram.dtype)
        right = np.empty(chosen.size, gram.dtype)
        for i in range(chosen.size):
            right[i] = target[chosen[i]]
            for l in range(chosen.size):
                part[i, l] = gram[chosen[i], chosen[l]]
        best = np.linalg.solve(part, right)
        # Feasible: move there, and free the atom whose coefficient would grow fastest; if none would, it is optimal.
        if best.size == 0 or best.min() > 0:
            x[:] = 0
            for i in range(chosen.size):
                x[chosen[i]] = best[i]
            gain, enters = gram.dtype.type(0), -1
            for t in range(size):
                if not free[t]:
                    slope = target[t]
                    for l in range(size):
                        slope -= gram[t, l] * x[l]
                    if slope > gain + 100 * np.finfo(gram.dtype).eps:
                        gain, enters = slope, t
            if enters < 0:
                break
            free[enters] = True
            continue
        # Infeasible: go towards it until a coefficient vanishes, and bind those that have.
        share = gram.dtype.type(1)
        for i in range(chosen.size):
            if best[i] < 0:
                share = min(share, x[chosen[i]] / (x[chosen[i]] - best[i]))
        for i in range(chosen.size):
            t = chosen[i]
            x[t] += share * (best[i] - x[t])
            if best[i] <= 0 and x[t] <= 10 * np.finfo(gram.dtype).eps:
                x[t] = 0
                free[t] = False
    # The feasible x, also where the limit of rounds has ended the search.
    for t in range(size):
        c[t] = max(x[t], gram.dtype.type(0))
