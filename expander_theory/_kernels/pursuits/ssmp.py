"""Sequential sparse matching pursuit: the coordinate step that lowers ||r||_1 most, again and again.

Source: Berinde and Indyk 2009. A phase begins with the best step of every column, O(n d^2), since the d ratios are
sorted by insertion. An update then costs a scan of n gains, and new best steps, O(d^2) each, for the columns that share
a row with the one that moved: about n d^2 / m of them.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.pursuits.atoms import (
    ITERATION_LIMIT,
    RESIDUAL_SMALL,
    SUPPORT_STABLE,
    norm,
    residual_of,
    subtract,
)
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory.base import njit


class _Steps(NamedTuple):
    """Of every column its best step and the fall of ||r||_1; columns already seen (stamp); room for one column."""

    step: Any
    gain: Any
    stamp: Any
    ratios: Any
    weights: Any


@njit(cache=True, nogil=True)
def ssmp(columns, lists, h, k, updates, limit, tolerance, found):
    """SSMP on masked columns; row i is met by ``members[start[i]:start[i + 1]]``, where ``lists`` = start, members."""
    n, d = columns.rows.shape
    residual = np.empty(h.shape[1], h.dtype)
    x, before = np.zeros(n, h.dtype), np.zeros(n, h.dtype)
    s = _Steps(np.empty(n, h.dtype), np.empty(n), np.full(n, -1, np.int64), np.empty(d, h.dtype), np.empty(d, h.dtype))
    for b in range(h.shape[0]):
        # Start from x = 0. Gains below ``floor`` are none; gains that differ by ``rounding`` are equal.
        signal, support, c = h[b], found.indices[b], found.coefficients[b]
        residual[:] = signal
        total = np.abs(signal).sum()
        floor, rounding = tolerance * total, 100 * np.finfo(h.dtype).eps * total
        x[:] = 0
        size, phase, stable = 0, 0, False
        while True:
            if np.abs(residual).sum() <= floor:
                status = RESIDUAL_SMALL
                break
            if stable:
                status = SUPPORT_STABLE
                break
            if phase == limit:
                status = ITERATION_LIMIT
                break
            # A phase of coordinate steps, then back to k entries; a phase that changes nothing is a fixed point.
            before[:] = x
            _phase(columns, lists, residual, x, updates, floor, rounding, s)
            size = prune(x, k, support, c)
            residual_of(columns, signal, support, c, size, residual)
            stable = np.abs(x - before).max() <= tolerance * np.abs(x).max()
            phase += 1
        found.steps[b] = size
        found.status[b] = status
        found.iterations[b] = phase
        found.residuals[b] = norm(residual)


@njit(cache=True, nogil=True)
def _phase(columns, lists, residual, x, updates, floor, rounding, s):
    """Up to ``updates`` steps x_j += z, each the best, as long as it lowers ||r||_1 by more than ``floor``.

    Where moduli are equal, columns often have the same gain (that of a row they share): rounding must not decide.
    """
    (n, d), (start, members) = columns.rows.shape, lists
    # The best step of every column for this residual.
    s.stamp[:] = -1
    for j in range(n):
        _best_step(columns, residual, j, s)
    for update in range(updates):
        # Take the largest gain, the lowest column among those equal up to rounding.
        largest = s.gain.max()
        if not largest > floor:
            break
        best = 0
        while s.gain[best] < largest - rounding:
            best += 1
        # Move the coordinate; r changes on d rows only.
        x[best] += s.step[best]
        subtract(columns, best, s.step[best], residual)
        # Steps and gains change for the columns that meet these rows, each to be computed once.
        for i in range(d):
            row = columns.rows[best, i]
            for p in range(start[row], start[row + 1]):
                if s.stamp[members[p]] != update:
                    s.stamp[members[p]] = update
                    _best_step(columns, residual, members[p], s)


@njit(cache=True, nogil=True)
def _best_step(columns, residual, j, s):
    """The best step of column j, and by how much it lowers ||r||_1."""
    rows, values = columns.rows[j], columns.values[j]
    z = least_median(columns, residual, j, s.ratios, s.weights)
    # By how much ||r||_1 falls, summed from differences: it is small beside ||r||_1.
    gain = 0.0
    for i in range(rows.size):
        r = residual[rows[i]]
        gain += float(abs(r)) - float(abs(r - z * values[i]))
    s.step[j] = z
    s.gain[j] = gain


@njit(cache=True, nogil=True)
def least_median(columns, residual, j, ratios, weights):
    """z of least |z| among the minimisers of sum_i |r_i - z w_ij|: a weighted median of r_i/w_ij, weights |w_ij|.

    ``ratios`` and ``weights`` are room for d numbers each.
    """
    rows, values = columns.rows[j], columns.values[j]
    # Ratios r_i / w_ij in increasing order with their weights, by insertion: there are only d of them.
    count, total = 0, 0.0
    for i in range(rows.size):
        if values[i] == 0:
            continue
        ratio, weight = residual[rows[i]] / values[i], abs(values[i])
        place = count
        while place > 0 and ratios[place - 1] > ratio:
            ratios[place], weights[place] = ratios[place - 1], weights[place - 1]
            place -= 1
        ratios[place], weights[place] = ratio, weight
        count += 1
        total += weight
    if count == 0:  # a column that vanishes in float32 beside much longer ones: every z is a minimiser
        return residual.dtype.type(0)
    # The weighted median is where half of the weight has been passed.
    rounding = count * np.finfo(residual.dtype).eps * total
    below, low = 0.0, 0
    while below + weights[low] < total / 2 - rounding:
        below += weights[low]
        low += 1
    high = low
    if below + weights[low] <= total / 2 + rounding:  # exactly half: every z up to the next ratio is a minimiser
        high += 1
    # Of the interval of minimisers the end nearest to 0; 0 itself if it lies inside.
    return ratios[low] if ratios[low] > 0 else min(ratios[high], residual.dtype.type(0))


@njit(cache=True, nogil=True)
def prune(x, k, support, c):
    """Keep the k largest |x_j|, in x and as the code, decreasing; returns how many are not zero."""
    # Hard thresholding: x becomes the code and nothing else.
    moduli = np.empty(k, x.dtype)
    picks = np.empty(k, np.int64)
    k_largest(np.abs(x), picks, moduli)
    support[:] = -1
    c[:] = 0
    size = 0
    while size < k and moduli[size] > 0:
        support[size] = picks[size]
        c[size] = x[picks[size]]
        size += 1
    x[:] = 0
    for t in range(size):
        x[support[t]] = c[t]
    return size
