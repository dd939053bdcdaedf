"""Hard thresholding pursuit (Foucart 2011).

A step costs one correlation with all columns, O(n d) on a mask and O(n m) dense, and a least squares on k atoms,
O(k^2 (k + d)). The next support is a function of the present one, so the sequence of supports ends in a cycle, mostly
of length 1; it is found (Brent), and of its supports the one of least residual is kept.
"""

from typing import Any, NamedTuple

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
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory.base import njit


class _Room(NamedTuple):
    """|x + mu W^T r| of all columns; the k largest of them."""

    scores: Any
    picks: Any
    moduli: Any


@njit(cache=True, nogil=True)
def htp(columns, h, k, mu, limit, tolerance, pivot_tolerance, found):
    """HTP with unit columns; fills one row of ``found`` per signal."""
    n, m = columns.values.shape[0], h.shape[1]
    residual = np.empty(m, h.dtype)
    room = _Room(np.empty(n, h.dtype), np.empty(k, np.int64), np.empty(k, h.dtype))
    fit = new_fit(k, h[0])
    for b in range(h.shape[0]):
        # Start from the empty code: the residual is the signal.
        signal, support, c = h[b], found.indices[b], found.coefficients[b]
        residual[:] = signal
        left = norm(residual)
        floor = tolerance * left
        size, step = 0, 0
        last = np.empty(0, np.int64)  # the set fitted last, increasing
        mark = last  # an earlier one
        best, least = last, left  # that of least residual since the mark
        while True:
            if left <= floor:
                status = RESIDUAL_SMALL
                break
            # The k largest |x + mu W^T r|.
            correlate(columns, residual, room.scores)
            chosen = _candidates(room, mu, support[:size], c[:size])
            if chosen.size == 0:
                status = NO_CORRELATION
                break
            if step > 0 and (np.array_equal(chosen, last) or np.array_equal(chosen, mark)):
                status = SUPPORT_STABLE
                if least < left:  # a cycle of several supports: go to the best of them
                    size, left = _fit(columns, signal, best, pivot_tolerance, fit, support, c, residual)
                break
            if step == limit:
                status = ITERATION_LIMIT
                break
            size, left = _fit(columns, signal, chosen, pivot_tolerance, fit, support, c, residual)
            step += 1
            last = chosen
            if (step & (step - 1)) == 0:  # Brent: marks at powers of two meet every cycle
                mark, best, least = chosen, chosen, left
            elif left < least:
                best, least = chosen, left
        found.steps[b] = size
        found.status[b] = status
        found.iterations[b] = step
        found.residuals[b] = left


@njit(cache=True, nogil=True)
def _candidates(room, mu, support, c):
    """The places of the k largest nonzero |x + mu g|, increasing, for the code x and g in ``room.scores``."""
    for j in range(room.scores.size):
        room.scores[j] *= mu
    for t in range(support.size):
        room.scores[support[t]] += c[t]
    for j in range(room.scores.size):
        room.scores[j] = abs(room.scores[j])
    k_largest(room.scores, room.picks, room.moduli)
    count = 0
    while count < room.picks.size and room.moduli[count] > 0:
        count += 1
    return np.sort(room.picks[:count])


@njit(cache=True, nogil=True)
def _fit(columns, signal, atoms, pivot_tolerance, fit, support, c, residual):
    """Least squares on ``atoms`` becomes the code, in decreasing order of moduli; returns its size and ||r||."""
    fitted = 0
    for j in atoms:
        if include(columns, signal, j, fitted, pivot_tolerance, fit):
            fitted += 1
    solve(columns, signal, fitted, fit, residual)
    size = prune(fit, fitted, support, c)
    return size, residual_of(columns, signal, support, c, size, residual)
