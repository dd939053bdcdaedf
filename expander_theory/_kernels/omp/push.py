"""OMP on masked columns, push backend: keep every correlation, and change only those that a step changes.

The correlations of all columns with the signal are computed once, a tile of signals at a time. A step then pushes the
residual's change from each row that it touches to the columns that meet the row. Candidates are the columns whose score
is at least half of what the largest was when the list was made; a push that lifts a column over that threshold adds it,
so the best candidate is the best column for as long as it stays above. Work: about k d (n d / m) updates where supports
seldom meet (k d^2 / m up to 1).
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.linear.vectors import aligned, correlations, correlations_one, lanes_of
from expander_theory._kernels.omp import pursuit as p
from expander_theory.base import njit

_BLOCK = 64  # columns that are tested together against the threshold


class RowLists(NamedTuple):
    """``columns[starts[i]:starts[i + 1]]`` meet row i; those before ``middles[i]`` with a positive value."""

    starts: Any
    middles: Any
    columns: Any


class Push(NamedTuple):
    """Residuals (m, lanes); correlations (lanes, n) and the same as integers; candidates; U by rows and by columns."""

    residuals: Any
    scores: Any
    bits: Any
    candidates: Any
    listed: Any
    cell: Any
    cell_bits: Any
    upper: Any
    lower: Any


def new_push(k: int, m: int, n: int, dtype: Any) -> Push:
    """Workspace for n columns (a multiple of the block of :func:`correlations`) and sparsity up to k."""
    lanes = lanes_of(dtype)
    residuals, scores = aligned((m, lanes), dtype), aligned((lanes, n), dtype)
    residuals[:] = 0
    integer = np.int32 if np.dtype(dtype).itemsize == 4 else np.int64
    cell = np.zeros(1, dtype)
    factors = np.zeros((2, 1, k, k), dtype)
    marks = np.zeros(n, np.int32), np.zeros(n, np.uint8)
    return Push(residuals, scores, scores.view(integer), *marks, cell, cell.view(integer), *factors)


@njit(cache=True, nogil=True)
def omp_push(rows, values, lists, weights, signals, rule, found, push, scratch):
    """Fill one row of ``found`` per signal.

    ``weights`` are the values in the order of the row lists. If they are None all values are +-values[0, 0], and the
    lists are split by sign. (None must be an argument of its own for numba to leave out what it excludes.)
    """
    starts, middles, columns = lists
    h, scales, ks, given, planted = signals
    tolerance, pivot, signed = rule
    indices, coefficients, steps, status, final, coefficient_path, residual_path = found
    residuals, scores, bits, candidates, listed, cell, cell_bits, upper, lower = push
    g, v, u, spread, q, touched, stamp, own = scratch
    lanes, batch = residuals.shape[1], h.shape[0]
    modulus = abs(values[0, 0])
    norms2 = np.zeros(lanes)
    for b in range(batch):
        # Correlations of all columns with a whole tile of signals at a time; of few, one by one, to the same bits.
        lane = b % lanes
        if lane == 0:
            together = min(lanes, batch - b)
            for l in range(together):
                norms2[l] = p.load(h, scales, b + l, residuals, l)
            if 4 * together >= lanes:
                correlations(rows, values, residuals, scores)
            else:
                for l in range(together):
                    correlations_one(rows, values, residuals, l, scores)
        left2, size, threshold = norms2[lane], 0, cell.dtype.type(np.inf)  # no list yet: nothing may enter it
        reason = p.state(tolerance, norms2[lane], left2, 0, ks[b])
        while reason == p.RUNNING:
            # On the support only rounding is left of the correlations: no chosen atom may come again.
            t = steps[b]
            for l in range(t):
                scores[lane, indices[b, l]] = 0
            # Select: the atom given for this step, or the best candidate. If none is above the threshold any more, the
            # best column may be one that is not listed: make the list anew.
            forced = t < given.shape[1] and given[b, t] >= 0
            if forced:
                atom = np.int64(given[b, t])
            else:
                atom = _best_listed(scores, lane, candidates, size, threshold, signed)
                if atom < 0:
                    for i in range(size):
                        listed[candidates[i]] = 0
                    size, atom = _list(scores, bits, lane, candidates, listed, cell, cell_bits, signed)
                    threshold = cell[0]
                    if atom < 0:
                        reason = p.NO_CORRELATION
                        break
            # The score anew from the residual: the kept one has summed up the rounding of all pushes.
            score = p.inner(rows, values, atom, residuals, lane)
            if not forced and (score == 0 or (signed and score < 0)):
                reason = p.NO_CORRELATION
                break
            if planted.shape[1] and not p.holds(planted, b, planted.shape[1], atom):
                reason = p.FIRST_MISS
                break
            # Orthogonalise against the support: append to U, and move all coefficients.
            norm2 = p.overlaps(rows, values, atom, indices, b, t, spread, g)
            rho = p.extend(upper, lower, 0, t, norm2, pivot, g, v, u)
            if rho == 0:
                reason = p.DEPENDENT_ATOM
                break
            step = score / rho
            p.move(indices, coefficients, steps, b, atom, step, t, u)
            # After the last step no correlation is needed, and finish() computes the residual.
            if t + 1 == ks[b]:
                reason = p.SPARSITY_REACHED
                break
            # Update the residual on the rows that change; its norm by differences, until they have cancelled.
            count = p.direction(rows, values, atom, indices, b, t, u, q, touched, stamp)
            left2 = _descend(residuals, lane, step, q, touched, count, left2)
            if left2 < p.CANCELLED * norms2[lane]:
                left2 = 0.0
                for i in range(residuals.shape[0]):
                    left2 += float(residuals[i, lane]) * float(residuals[i, lane])
            p.record(coefficients, steps, coefficient_path, residual_path, b, left2)
            reason = p.state(tolerance, norms2[lane], left2, t + 1, ks[b])
            # Push: each row that changed by -delta moves the correlations of the columns that meet it, no others. A
            # column that this lifts over the threshold becomes a candidate.
            if reason == p.RUNNING:
                for i in range(count):
                    row = touched[i]
                    delta = step * q[row]
                    first, last = starts[row], starts[row + 1]
                    # Values of one modulus: +delta for one part of the list, -delta for the other, without a load.
                    if weights is None:
                        delta *= modulus
                        middle = middles[row]
                        size = _shift(
                            scores, lane, columns, first, middle, -delta, threshold, signed, candidates, listed, size
                        )
                        size = _shift(
                            scores, lane, columns, middle, last, delta, threshold, signed, candidates, listed, size
                        )
                    else:
                        for e in range(first, last):
                            j = columns[e]
                            value = scores[lane, j] - delta * weights[e]
                            scores[lane, j] = value
                            if (value if signed else abs(value)) >= threshold and listed[j] == 0:
                                listed[j] = 1
                                candidates[size] = j
                                size += 1
        # No column is listed when the next signal begins.
        for i in range(size):
            listed[candidates[i]] = 0
        p.finish(
            rows, values, h, scales, b, reason, tolerance, indices, coefficients, steps, status, final,
            coefficient_path, residual_path, own, upper, lower, 0, v, u,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _shift(scores, lane, columns, first, last, delta, threshold, signed, candidates, listed, size):
    """Add delta to the scores of some columns; returns how many candidates there are then."""
    for e in range(first, last):
        j = columns[e]
        value = scores[lane, j] + delta
        scores[lane, j] = value
        if (value if signed else abs(value)) >= threshold and listed[j] == 0:
            listed[j] = 1
            candidates[size] = j
            size += 1
    return size


@njit(cache=True, nogil=True)
def _descend(residuals, lane, step, q, touched, count, left2):
    """residual -= step q on the touched rows; returns the new ||residual||^2."""
    for i in range(count):
        row = touched[i]
        before = residuals[row, lane]
        after = before - step * q[row]
        residuals[row, lane] = after
        left2 += float(after) * float(after) - float(before) * float(before)
    return left2


@njit(cache=True, nogil=True)
def _best_listed(scores, lane, candidates, size, threshold, signed):
    """The candidate of largest score, the lowest among equals; -1 if none reaches the threshold."""
    best, atom = threshold, -1
    for i in range(size):
        j = candidates[i]
        value = scores[lane, j] if signed else abs(scores[lane, j])
        if value > best or (value == best and (atom < 0 or j < atom)):
            best, atom = value, j
    return atom


@njit(cache=True, nogil=True)
def _list(scores, bits, lane, candidates, listed, cell, cell_bits, signed):
    """Make the list anew: all columns of at least half the largest score. Returns its size and the best column,
    -1 if no score is positive.

    Floats are compared as integers of the same bits, which has the same order where they are not negative and lets
    the compiler use vectors. The threshold is left in ``cell``.
    """
    # The largest score, as an integer; by magnitude the mask takes away the sign bit.
    n = scores.shape[1]
    one = bits.dtype.type(1)
    mask = bits.dtype.type(-1 if signed else (1 << (8 * bits.itemsize - 1)) - 1)
    top = bits.dtype.type(0)
    for j in range(n):
        value = bits[lane, j] & mask
        top = max(top, value)
    # Half of it, as an integer again; a threshold of zero would list every column.
    cell_bits[0] = top
    cell[0] *= scores.dtype.type(0.5)
    half = max(cell_bits[0], one)
    # Most blocks hold no candidate, which one vector comparison shows.
    size, atom = 0, -1
    for first in range(0, n, _BLOCK):
        last = min(n, first + _BLOCK)
        above = False
        for j in range(first, last):
            above |= (bits[lane, j] & mask) >= half
        if above:
            for j in range(first, last):
                value = bits[lane, j] & mask
                if value >= half:
                    candidates[size] = j
                    listed[j] = 1
                    size += 1
                    if value == top and atom < 0:
                        atom = j
    return size, atom
