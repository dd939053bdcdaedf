"""OMP on masked columns, push backend: keep a score of every column, and change only those that a step matters to.

The correlations of all columns with the signal are computed once, a tile of signals at a time. They are kept as scores,
and a row whose residual has changed pushes its change to the columns that meet it, but only once that exceeds a limit:
by far most changes, those of atoms that an atom is only linked with through others, are small and cancel in time. So no
score is further from its correlation than the rows of one column hold back, sqrt(d) limit (Cauchy-Schwarz, unit
columns), plus rounding: the slack.

Candidates are the columns whose score is above a threshold, or once was; a push that lifts a column over it adds it.
Exact correlations are computed for those of them that the slack leaves a chance. Their best is the best of all columns
if it exceeds threshold + slack, as no other column does. If not, limit and threshold are set anew. So the choice is
exact, and rests on scores only where they cannot err.

Work: one correlation with every column, then about k d (n d / m) updates, and n comparisons for each list.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.linear.vectors import BLOCK_BYTES, aligned, correlations, correlations_one, lanes_of
from expander_theory._kernels.omp import pursuit as p
from expander_theory.base import njit

_BLOCK = 64  # columns that are tested together against the threshold
_STRIDE = 2048  # columns that are counted between two looks at the count
_LEVELS, _FEW = (0.4, 0.6, 0.85), 128
"""The threshold is the first of these shares of the best correlation that leaves few candidates: a low one is good for
many steps, where correlations fall fast, a high one keeps the list short, where many are alike."""
_HELD = 0.06
"""What the rows of a column may hold back, as a share of the best correlation when candidates are listed."""


class RowLists(NamedTuple):
    """``columns[starts[i]:starts[i + 1]]`` meet row i; those before ``middles[i]`` with a positive value."""

    starts: Any
    middles: Any
    columns: Any


class Push(NamedTuple):
    """Signals (m, lanes); scores (lanes, n or more) and the same as integers; residual that the scores know of (m,);
    candidates; what is listed or chosen; one float and the same as an integer; U by rows and by columns."""

    tile: Any
    scores: Any
    bits: Any
    known: Any
    candidates: Any
    listed: Any
    cell: Any
    cell_bits: Any
    upper: Any
    lower: Any


def new_push(k: int, m: int, n: int, dtype: Any) -> Push:
    """Workspace for n columns (a multiple of the block of :func:`correlations`) and sparsity up to k."""
    lanes, line = lanes_of(dtype), BLOCK_BYTES // np.dtype(dtype).itemsize
    # An odd number of cache lines: otherwise a column's scores of all lanes compete for the same few places.
    width = (n // line | 1) * line
    tile, scores = aligned((m, lanes), dtype), aligned((lanes, width), dtype)
    tile[:] = 0
    integer = np.int32 if np.dtype(dtype).itemsize == 4 else np.int64
    cell = np.zeros(1, dtype)
    marks = np.zeros(n, np.int32), np.zeros(n, np.bool_)
    factors = np.zeros((2, 1, k, k), dtype)
    known = np.zeros(m, dtype)
    return Push(tile, scores, scores.view(integer), known, *marks, cell, cell.view(integer), *factors)


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
    tile, all_scores, all_bits, known, candidates, listed, cell, cell_bits, upper, lower = push
    g, v, u, spread, q, touched, _stamp, own = scratch
    left = own[:, 0]
    lanes, batch, (n, d) = tile.shape[1], h.shape[0], rows.shape
    modulus, never = abs(values[0, 0]), values.dtype.type(np.inf)
    for b in range(batch):
        # Correlations of all columns with a whole tile of signals at a time; of few, one by one, to the same bits.
        lane = b % lanes
        if lane == 0:
            together = min(lanes, batch - b)
            for l in range(together):
                p.load(h, scales, b + l, tile, l)
            if 4 * together >= lanes:
                correlations(rows, values, tile, all_scores)
            else:
                for l in range(together):
                    correlations_one(rows, values, tile, l, all_scores)
        scores, bits = all_scores[lane, :n], all_bits[lane, :n]
        norm2 = p.load(h, scales, b, own, 0)
        known[:] = left
        left2, size, pushes = norm2, 0, 0
        limit, threshold = values.dtype.type(0), never  # no list yet: nothing may enter it
        reason = p.state(tolerance, norm2, left2, 0, ks[b])
        while reason == p.RUNNING:
            # Select: the atom given for this step, or the best candidate, if it is proved to be the best column.
            t = steps[b]
            forced = t < given.shape[1] and given[b, t] >= 0
            if forced:
                atom = np.int64(given[b, t])
            else:
                slack = _slack(scores, limit, d, pushes, norm2)
                atom, best = _best(rows, values, left, scores, candidates, size, slack, signed)
                if best <= threshold + slack:
                    # Take the list down.
                    for i in range(size):
                        listed[candidates[i]] = False
                    # Where the scores have become as small as their slack, all rows push what they hold back.
                    top = _largest(scores, bits, cell, cell_bits, indices, b, t, signed)
                    if top <= 2 * slack:
                        limit *= 0
                        count = _held_back(left, known, limit, q, touched)
                        _push(
                            q, touched, count, starts, middles, columns, weights, modulus, scores, never, signed,
                            candidates, listed, 0,
                        )  # fmt: skip
                        pushes += count
                        slack = _slack(scores, limit, d, pushes, norm2)
                        top = _largest(scores, bits, cell, cell_bits, indices, b, t, signed)
                    # The best correlation is at least this: the measure of the new limit and threshold.
                    least = max(top - slack, values.dtype.type(0))
                    limit = least * values.dtype.type(_HELD / np.sqrt(d))
                    count = _held_back(left, known, limit, q, touched)
                    _push(
                        q, touched, count, starts, middles, columns, weights, modulus, scores, never, signed,
                        candidates, listed, 0,
                    )  # fmt: skip
                    pushes += count
                    # Where only rounding is left, every column is a candidate, and is again at the next step.
                    threshold = never
                    if least > 0:
                        for level in _LEVELS:
                            threshold = least * values.dtype.type(level)
                            if _few_above(scores, threshold, signed):
                                break
                    size = _list(scores, threshold if least > 0 else -never, signed, candidates, listed)
                    slack = _slack(scores, limit, d, pushes, norm2)
                    atom, best = _best(rows, values, left, scores, candidates, size, slack, signed)
                    if atom < 0:
                        reason = p.NO_CORRELATION
                        break
            score = p.inner(rows, values, atom, own, 0)
            if not forced and (score == 0 or (signed and score < 0)):
                reason = p.NO_CORRELATION
                break
            if planted.shape[1] and not p.holds(planted, b, planted.shape[1], atom):
                reason = p.FIRST_MISS
                break
            # Orthogonalise against the support: append to U, and move residual and coefficients.
            length2 = p.overlaps(rows, values, atom, indices, b, t, spread, g)
            rho = p.extend(upper, lower, 0, t, length2, pivot, g, v, u)
            if rho == 0:
                reason = p.DEPENDENT_ATOM
                break
            step = score / rho
            p.move(indices, coefficients, steps, b, atom, step, t, u)
            # After the last step no correlation is needed, and finish() computes the residual.
            if t + 1 == ks[b]:
                reason = p.SPARSITY_REACHED
                break
            p.descend(rows, values, own, 0, indices, b, t, atom, step, u)
            # ||r||^2 falls by step^2 rho; summed anew where that has cancelled, or is near the tolerance.
            left2 -= float(step) * float(step) * float(rho)
            if residual_path.size or left2 < max(p.CANCELLED, 4 * tolerance * tolerance) * norm2:
                left2 = p.norm_squared(own)
            p.record(coefficients, steps, coefficient_path, residual_path, b, left2)
            reason = p.state(tolerance, norm2, left2, t + 1, ks[b])
            size = _without(candidates, size, atom)
            listed[atom] = True  # a chosen atom may not be listed again
            # Push: the rows of the atom, and of those that it moves, where they hold back more than the limit.
            if reason == p.RUNNING:
                count = _held_back_by(rows, indices, b, t, u, left, known, limit, q, touched)
                size = _push(
                    q, touched, count, starts, middles, columns, weights, modulus, scores, threshold, signed,
                    candidates, listed, size,
                )  # fmt: skip
                pushes += count
        # No column is listed when the next signal begins.
        for i in range(size):
            listed[candidates[i]] = False
        for l in range(steps[b]):
            listed[indices[b, l]] = False
        p.finish(
            rows, values, h, scales, b, reason, tolerance, indices, coefficients, steps, status, final,
            coefficient_path, residual_path, own, upper, lower, 0, v, u,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _slack(scores, limit, d, pushes, norm2):
    """How far a score may be from its correlation: what d rows hold back, and rounding, once a push."""
    rounding = (pushes + d) * np.finfo(scores.dtype).eps * np.sqrt(norm2)
    return scores.dtype.type(np.sqrt(d) * limit + rounding)


@njit(cache=True, nogil=True)
def _held_back(left, known, limit, q, touched):
    """Let the rows that hold back more than the limit be known: q on touched[:count]; returns count."""
    count = np.uint64(0)
    for row in range(np.uint64(known.size)):
        now = left[row]
        change = now - known[row]
        if abs(change) > limit:
            q[count], touched[count], known[row] = change, row, now
            count += np.uint64(1)
    return np.int64(count)


@njit(cache=True, nogil=True)
def _held_back_by(rows, indices, b, t, u, left, known, limit, q, touched):
    """The same for the rows of the newest atom and of those that it moves."""
    count, d = np.uint64(0), np.uint64(rows.shape[1])
    for l in range(t + 1):
        if l == t or u[l] != 0:
            j = np.uint64(indices[b, l])
            for i in range(d):
                row = np.uint64(rows[j, i])
                now = left[row]
                change = now - known[row]
                if abs(change) > limit:
                    q[count], touched[count], known[row] = change, row, now
                    count += np.uint64(1)
    return np.int64(count)


@njit(cache=True, nogil=True)
def _push(
    q, touched, count, starts, middles, columns, weights, modulus, scores, threshold, signed, candidates, listed, size
):
    """Add the changes of rows to the scores of the columns that meet them; returns how many candidates there are then.

    Values of one modulus: +change for one part of the list, -change for the other, without a load.
    """
    for i in range(count):
        row, change = touched[i], q[i]
        first, last = starts[row], starts[row + 1]
        middle = last
        if weights is None:
            change *= modulus
            middle = middles[row]
        for e in range(np.uint64(first), np.uint64(middle)):
            j = np.uint64(columns[e])
            value = scores[j] + (change if weights is None else change * weights[e])
            scores[j] = value
            if (value if signed else abs(value)) >= threshold and not listed[j]:
                listed[j] = True
                candidates[size] = j
                size += 1
        for e in range(np.uint64(middle), np.uint64(last)):
            j = np.uint64(columns[e])
            value = scores[j] - change
            scores[j] = value
            if (value if signed else abs(value)) >= threshold and not listed[j]:
                listed[j] = True
                candidates[size] = j
                size += 1
    return size


@njit(cache=True, nogil=True)
def _correlation(rows, values, j, left):
    """<w_j, r>, as :func:`pursuit.inner`."""
    total = left.dtype.type(0)
    for i in range(np.uint64(rows.shape[1])):
        total += values[j, i] * left[np.uint64(rows[j, i])]
    return total


@njit(cache=True, nogil=True)
def _best(rows, values, left, scores, candidates, size, slack, signed):
    """The candidate of the largest exact correlation, the lowest among equals, and that correlation; -1 if none."""
    # The largest score goes first: with its correlation known, few others have a chance.
    least = -scores.dtype.type(np.inf)
    height, first = least, np.int64(-1)
    for i in range(size):
        j = np.uint64(candidates[i])
        value = scores[j] if signed else abs(scores[j])
        if value > height:
            height, first = value, np.int64(j)
    if first < 0:
        return first, least
    best, atom = _correlation(rows, values, np.uint64(first), left), first
    best = best if signed else abs(best)
    for i in range(size):
        j = np.uint64(candidates[i])
        value = scores[j] if signed else abs(scores[j])
        if value + slack >= best and np.int64(j) != first:
            exact = _correlation(rows, values, j, left)
            exact = exact if signed else abs(exact)
            if exact > best or (exact == best and np.int64(j) < atom):
                best, atom = exact, np.int64(j)
    return atom, best


@njit(cache=True, nogil=True)
def _without(candidates, size, atom):
    """Take an atom off the list, if it is there; returns how many are left."""
    for i in range(size):
        if candidates[i] == atom:
            candidates[i] = candidates[size - 1]
            return size - 1
    return size


@njit(cache=True, nogil=True)
def _largest(scores, bits, cell, cell_bits, indices, b, t, signed):
    """The largest score outside the support, where the scores are set to 0; 0 if none is positive.

    Floats are compared as integers of the same bits, which has the same order where they are not negative and lets the
    compiler use vectors; by magnitude a mask takes away the sign bit.
    """
    for l in range(t):
        scores[indices[b, l]] = 0
    mask = bits.dtype.type(-1 if signed else (1 << (8 * bits.itemsize - 1)) - 1)
    top = bits.dtype.type(0)
    for j in range(bits.size):
        top = max(top, bits[j] & mask)
    cell_bits[0] = top
    return cell[0]


@njit(cache=True, nogil=True)
def _few_above(scores, threshold, signed):
    """Whether few columns have at least this score; it stops as soon as they are more."""
    n, count = np.uint64(scores.size), np.int32(0)
    for first in range(np.uint64(0), n, np.uint64(_STRIDE)):
        for j in range(first, min(n, first + np.uint64(_STRIDE))):
            count += np.int32((scores[j] if signed else abs(scores[j])) >= threshold)
        if count > _FEW:
            return False
    return True


@njit(cache=True, nogil=True)
def _list(scores, threshold, signed, candidates, listed):
    """List all columns of at least this score that are not chosen; returns how many."""
    # Most blocks hold no candidate, which one vector comparison shows.
    n, size = np.uint64(scores.size), 0
    for first in range(np.uint64(0), n, np.uint64(_BLOCK)):
        last = min(n, first + np.uint64(_BLOCK))
        above = False
        for j in range(first, last):
            above |= (scores[j] if signed else abs(scores[j])) >= threshold
        if above:
            for j in range(first, last):
                if (scores[j] if signed else abs(scores[j])) >= threshold and not listed[j]:
                    candidates[size] = j
                    listed[j] = True
                    size += 1
    return size
