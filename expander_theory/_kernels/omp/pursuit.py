"""Orthogonal matching pursuit, the part that all backends share: what happens to one signal once an atom is chosen.

The least squares live in coefficient space. With U upper triangular such that the columns of W_S U are orthonormal, a
new atom w with overlaps g = W_S^T w has v = U^T g, squared distance rho = ||w||^2 - ||v||^2 from span W_S, and
direction q = w + W_S u, u = -U v. Its coefficient is step = w^T r / rho; the other coefficients move by step u and the
residual by -step q. Where supports do not meet, g, v and u hold exact zeros, and only the rows that change are touched.

A step with t atoms chosen costs O(t^2) and, on a mask, O(t d); the end of a signal one residual anew and one step of
refinement, O(t^2 + t d).

Residuals stand in columns of an array (m, lanes). The kernels of the backends take named tuples and open them once. The
functions here take single arrays, long as their lists are: numba counts references, atomically, whenever a tuple of
arrays is passed on or opened. With all of them on tuples, the tile backend takes 1.1 to 1.2 times as long on problems
of 64 x 128 with k = 4 (float32, one thread); at 256 x 1024 and k = 16 no difference can be measured, nor in the time
that compilation takes.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.omp import blocks
from expander_theory.base import njit

SPARSITY_REACHED, RESIDUAL_SMALL, DEPENDENT_ATOM, NO_CORRELATION, FIRST_MISS = 0, 1, 2, 3, 4
RUNNING = -1

CANCELLED = 1e-3
"""An updated ||r||^2 below this share of ||h||^2 has lost digits and is summed anew."""


class Signals(NamedTuple):
    """Signals (batch, m), solved as h times scale; k of each; atoms given (batch, p), planted (batch, q), -1 filled."""

    h: Any
    scales: Any
    ks: Any
    given: Any
    planted: Any


class Rule(NamedTuple):
    """Stop at ||r|| <= tolerance ||h||; an atom with rho <= pivot is dependent; signed: largest w^T r, not |w^T r|."""

    tolerance: float
    pivot: float
    signed: bool


class Found(NamedTuple):
    """One row a signal; the paths are empty unless asked for."""

    indices: Any
    coefficients: Any
    steps: Any
    status: Any
    residuals: Any
    coefficient_path: Any
    residual_path: Any


class Scratch(NamedTuple):
    """Vectors that all signals share: g, v, u (k,); spread (zero between calls), q, touched (m,); own (m, 1).

    ``stamp``, of length m + 1, marks the rows that the present direction has touched; its last entry is the mark.
    """

    g: Any
    v: Any
    u: Any
    spread: Any
    q: Any
    touched: Any
    stamp: Any
    own: Any


def new_scratch(k: int, m: int, dtype: Any) -> Scratch:
    """Scratch vectors for sparsity up to k."""
    g, v, u = (np.zeros(k, dtype) for _ in range(3))
    spread, q, own = np.zeros(m, dtype), np.zeros(m, dtype), np.zeros((m, 1), dtype)
    return Scratch(g, v, u, spread, q, np.zeros(m, np.int32), np.zeros(m + 1, np.int64), own)


@njit(cache=True, nogil=True)
def load(h, scales, b, residuals, lane):
    """residual = h scale; returns ||residual||^2."""
    scale, whole = scales[b], residuals.shape[0] // 4 * 4
    one, two, three, four = 0.0, 0.0, 0.0, 0.0  # four sums, so that additions do not wait for each other
    for i in range(0, whole, 4):
        p, q, r, s = h[b, i] * scale, h[b, i + 1] * scale, h[b, i + 2] * scale, h[b, i + 3] * scale
        residuals[i, lane], residuals[i + 1, lane], residuals[i + 2, lane], residuals[i + 3, lane] = p, q, r, s
        one += float(p) * float(p)
        two += float(q) * float(q)
        three += float(r) * float(r)
        four += float(s) * float(s)
    for i in range(whole, residuals.shape[0]):
        value = h[b, i] * scale
        residuals[i, lane] = value
        one += float(value) * float(value)
    return (one + two) + (three + four)


@njit(cache=True, nogil=True)
def inner(rows, values, j, residuals, lane):
    """<w_j, residual>; rows is None if dense, values has one axis if of blocks (:mod:`blocks`)."""
    total = residuals.dtype.type(0)
    if values.ndim == 1:
        total += blocks.inner(rows, values, j, residuals, lane)
    elif rows is None:
        for i in range(residuals.shape[0]):
            total += values[j, i] * residuals[i, lane]
    else:
        for i in range(rows.shape[1]):
            total += values[j, i] * residuals[rows[j, i], lane]
    return total


@njit(cache=True, nogil=True)
def subtract(rows, values, j, coefficient, residuals, lane):
    """residual -= coefficient w_j; rows and values as in :func:`inner`."""
    if values.ndim == 1:
        blocks.subtract(rows, values, j, coefficient, residuals, lane)
    elif rows is None:
        for i in range(residuals.shape[0]):
            residuals[i, lane] -= coefficient * values[j, i]
    else:
        for i in range(rows.shape[1]):
            residuals[rows[j, i], lane] -= coefficient * values[j, i]


@njit(cache=True, nogil=True)
def holds(items, b, count, wanted):
    """Whether ``wanted`` is among the first ``count`` items of row b."""
    for i in range(count):  # noqa: SIM110 (numba has no any())
        if items[b, i] == wanted:
            return True
    return False


@njit(cache=True, nogil=True)
def overlaps(rows, values, atom, indices, b, t, spread, g):
    """g = W_S^T w of a masked atom; returns ||w||^2."""
    # Spread w over a vector of length m: its overlap with a chosen atom is then a pass over that atom's d entries.
    d = rows.shape[1]
    norm2 = values.dtype.type(0)
    for i in range(d):
        spread[rows[atom, i]] = values[atom, i]
        norm2 += values[atom, i] * values[atom, i]
    for l in range(t):
        j = indices[b, l]
        total = values.dtype.type(0)
        for i in range(d):
            total += values[j, i] * spread[rows[j, i]]
        g[l] = total
    # Only the d entries that were written are cleared.
    for i in range(d):
        spread[rows[atom, i]] = 0
    return norm2


@njit(cache=True, nogil=True)
def extend(upper, lower, lane, t, norm2, pivot, g, v, u):
    """From g: v = U^T g, u = -U v, and row and column t of U. Returns rho, or 0 if w is in span W_S."""
    # Where w meets no chosen atom, v = u = 0 and there is nothing to orthogonalise.
    zero = g.dtype.type(0)
    meets = False
    for l in range(t):
        v[l] = zero
        u[l] = zero
        meets |= g[l] != zero
    # v = U^T g, the coordinates of w in the orthonormal basis W_S U; Pythagoras gives the squared distance.
    rho = norm2
    if meets:
        for i in range(t):
            weight = g[i]
            if weight != zero:
                for l in range(i, t):
                    v[l] += weight * upper[lane, i, l]
        for l in range(t):
            rho -= v[l] * v[l]
    if not rho > pivot:
        return zero
    # u = -U v, by the columns of U, of which ``lower`` keeps contiguous copies.
    if meets:
        for l in range(t):
            weight = v[l]
            if weight != zero:
                for i in range(l + 1):
                    u[i] -= weight * lower[lane, l, i]
    # The new column of U: (u, 1) / sqrt(rho), since q = w + W_S u has length sqrt(rho).
    scale = g.dtype.type(1) / np.sqrt(rho)
    for i in range(t):
        entry = u[i] * scale
        lower[lane, t, i] = entry
        upper[lane, i, t] = entry
    lower[lane, t, t] = scale
    upper[lane, t, t] = scale
    return rho


@njit(cache=True, nogil=True)
def direction(rows, values, atom, indices, b, t, u, q, touched, stamp):
    """q = w + W_S u on the rows touched[:count] of a masked dictionary; returns count."""
    d, last = rows.shape[1], stamp.size - 1
    # A new mark makes all rows untouched at once, without clearing m of them.
    stamp[last] += 1
    now, count = stamp[last], 0
    # The rows of w itself come first ...
    for i in range(d):
        row = rows[atom, i]
        stamp[row] = now
        touched[count] = row
        q[row] = values[atom, i]
        count += 1
    # ... then those of the chosen atoms that w is orthogonalised against; the others have weight 0 exactly.
    for l in range(t):
        weight = u[l]
        if weight == 0:
            continue
        j = indices[b, l]
        for i in range(d):
            row = rows[j, i]
            if stamp[row] != now:
                stamp[row] = now
                touched[count] = row
                q[row] = 0
                count += 1
            q[row] += weight * values[j, i]
    return count


@njit(cache=True, nogil=True)
def norm_squared(own):
    """||own||^2 in float64; four sums, so that they need not wait for each other."""
    whole = own.shape[0] // 4 * 4
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(0, whole, 4):
        a += float(own[i, 0]) * float(own[i, 0])
        b += float(own[i + 1, 0]) * float(own[i + 1, 0])
        c += float(own[i + 2, 0]) * float(own[i + 2, 0])
        d += float(own[i + 3, 0]) * float(own[i + 3, 0])
    for i in range(whole, own.shape[0]):
        a += float(own[i, 0]) * float(own[i, 0])
    return (a + b) + (c + d)


@njit(cache=True, nogil=True)
def descend(rows, values, residuals, lane, indices, b, t, atom, step, u):
    """residual -= step (w + W_S u)."""
    subtract(rows, values, atom, step, residuals, lane)
    for l in range(t):
        if u[l] != 0:
            subtract(rows, values, indices[b, l], step * u[l], residuals, lane)


@njit(cache=True, nogil=True)
def move(indices, coefficients, steps, b, atom, step, t, u):
    """Write the new atom and all coefficients."""
    for i in range(t):
        coefficients[b, i] += step * u[i]
    coefficients[b, t] = step
    indices[b, t] = atom
    steps[b] = t + 1


@njit(cache=True, nogil=True)
def record(coefficients, steps, coefficient_path, residual_path, b, left2):
    """The last point of the paths, where they were asked for."""
    t = steps[b]
    if residual_path.size and t:
        residual_path[b, t - 1] = np.sqrt(left2)
        for i in range(t):
            coefficient_path[b, t - 1, i] = coefficients[b, i]


@njit(cache=True, nogil=True)
def state(tolerance, norm2, left2, t, k):
    """Why a signal with t of k atoms stops before its next step, or RUNNING."""
    if left2 <= tolerance * tolerance * norm2:
        return RESIDUAL_SMALL
    return RUNNING if t < k else SPARSITY_REACHED


@njit(cache=True, nogil=True)
def refine(rows, values, indices, coefficients, b, t, own, upper, lower, place, v, u):
    """c += U U^T W_S^T r, r = h - W_S c: one step of iterative refinement; r, in ``own``, follows."""
    # v = U^T (W_S^T r): what rounding has left of the residual inside span W_S.
    zero = v.dtype.type(0)
    for l in range(t):
        v[l] = zero
        u[l] = zero
    for i in range(t):
        error = inner(rows, values, indices[b, i], own, 0)
        for l in range(i, t):
            v[l] += error * upper[place, i, l]
    # u = U v, the correction of the coefficients.
    for l in range(t):
        weight = v[l]
        for i in range(l + 1):
            u[i] += weight * lower[place, l, i]
    for i in range(t):
        coefficients[b, i] += u[i]
        subtract(rows, values, indices[b, i], u[i], own, 0)


@njit(cache=True, nogil=True)
def finish(
    rows, values, h, scales, b, reason, tolerance, indices, coefficients, steps, status, final,
    coefficient_path, residual_path, own, upper, lower, place, v, u,
):  # fmt: skip
    """Refine the coefficients of a signal that stops; write its status and final residual norm."""
    # The residual from the signal itself, free of what the steps have summed up.
    t = steps[b]
    norm2 = load(h, scales, b, own, 0)
    for i in range(t):
        subtract(rows, values, indices[b, i], coefficients[b, i], own, 0)
    # A signal that missed is only counted, so its last bits do not matter.
    if t and reason != FIRST_MISS:
        refine(rows, values, indices, coefficients, b, t, own, upper, lower, place, v, u)
    # The last point of the paths becomes that of the refined code; the last step may have reached the tolerance too.
    left2 = norm_squared(own)
    record(coefficients, steps, coefficient_path, residual_path, b, left2)
    if reason == SPARSITY_REACHED and left2 <= tolerance * tolerance * norm2:
        reason = RESIDUAL_SMALL
    status[b] = reason
    final[b] = np.sqrt(left2)
