"""Normalised iterative hard thresholding (Blumensath and Davies 2010).

A step costs one correlation with all columns, O(n d) on a mask and O(n m) dense, a pass over the n entries for the k
largest, and O(k d) for every step size that is tried.
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
    subtract,
)
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory.base import njit

SMALL, SHRINK = 0.01, 2.0
"""c and kappa (1 - c) of the paper: a step mu is accepted up to (1 - c) / curvature, and divided by the latter."""


class _State(NamedTuple):
    """x and W^T r, dense; the support of the iterate, of the next one, and room for what is computed on the way."""

    x: Any
    gradient: Any
    support: Any
    trial: Any
    moduli: Any
    scores: Any
    entered: Any
    image: Any


@njit(cache=True, nogil=True)
def niht(columns, h, k, limit, tolerance, found):
    """NIHT; fills one row of ``found`` per signal."""
    n, m = columns.values.shape[0], h.shape[1]
    residual = np.empty(m, h.dtype)
    s = _State(
        np.zeros(n, h.dtype), np.empty(n, h.dtype), np.empty(k, np.int64), np.empty(k, np.int64),
        np.empty(k, h.dtype), np.empty(n, h.dtype), np.zeros(n, np.bool_), np.empty(m, h.dtype),
    )  # fmt: skip
    for b in range(h.shape[0]):
        residual[:] = h[b]
        left = norm(residual)
        floor = tolerance * left
        # At x = 0 the gradient is W^T h; the support to begin with holds its k largest entries.
        correlate(columns, residual, s.gradient)
        size, step = _threshold(s, 0.0, s.support), 0
        stable = False
        while True:
            if left <= floor:
                status = RESIDUAL_SMALL
                break
            if size == 0:
                status = NO_CORRELATION
                break
            if stable:
                status = SUPPORT_STABLE
                break
            if step == limit:
                status = ITERATION_LIMIT
                break
            # One gradient step and threshold, then the residual and the gradient of the new code.
            size, stable = _iterate(columns, s, size, tolerance)
            # On columns of both supports and new ones the change is mu g (x was 0 on the latter) ...
            for t in range(size):
                found.coefficients[b, t] = s.x[s.support[t]]
            left = residual_of(columns, h[b], s.support, found.coefficients[b], size, residual)
            correlate(columns, residual, s.gradient)
            step += 1
        # Before the first step the support is a guess, and x = 0 the code. Leave x zero for the next signal.
        kept = size if step > 0 else 0
        found.indices[b, :kept] = s.support[:kept]
        found.coefficients[b, kept:] = 0
        s.x[s.support[:kept]] = 0
        found.steps[b] = kept
        found.status[b] = status
        found.iterations[b] = step
        found.residuals[b] = left


@njit(cache=True, nogil=True)
def _iterate(columns, s, size, tolerance):
    """x = H_k(x + mu W^T r). Returns the size of the new support, and whether support and x stay as they are."""
    # Try the step that is exact as long as the support stays.
    mu = _step_size(columns, s, size)
    while True:
        # Of x + mu g keep the k largest entries: the trial x'.
        count = _threshold(s, mu, s.trial)
        s.entered[s.trial[:count]] = True
        change2, image2, same = _difference(columns, s, size, mu, count)
        # Where the support changes, mu must not exceed the inverse curvature along x' - x (less a margin): only
        # then the objective falls. Otherwise shorten the step.
        if same or mu * image2 <= (1 - SMALL) * change2:
            break
        s.entered[s.trial[:count]] = False
        mu /= SHRINK
    # Accept: x moves on the new support and vanishes off it.
    total = 0.0
    for t in range(count):
        j = s.trial[t]
        s.x[j] += mu * s.gradient[j]
        total += float(s.x[j]) ** 2
    for t in range(size):
        if not s.entered[s.support[t]]:
            s.x[s.support[t]] = 0
    # The marks are clean again; the fixed point is a support that stays and a step that no longer moves x.
    s.entered[s.trial[:count]] = False
    s.support[:count] = s.trial[:count]
    return count, same and change2 <= tolerance * tolerance * total


@njit(cache=True, nogil=True)
def _step_size(columns, s, size):
    """mu = ||g_S||^2 / ||W_S g_S||^2, the best step along the gradient on the support; 1 where that is not defined."""
    # W_S g_S is formed column by column of the support, k d steps.
    s.image[:] = 0
    gradient2 = 0.0
    for t in range(size):
        j = s.support[t]
        gradient2 += float(s.gradient[j]) ** 2
        subtract(columns, j, s.gradient[j], s.image)
    image2 = norm(s.image) ** 2
    return gradient2 / image2 if image2 > np.finfo(s.image.dtype).eps * gradient2 else 1.0


@njit(cache=True, nogil=True)
def _threshold(s, mu, support):
    """The k largest |x + mu g| (mu = 0: |g|), decreasing, without zeros; returns how many."""
    for j in range(s.scores.size):
        s.scores[j] = abs(s.x[j] + mu * s.gradient[j]) if mu > 0 else abs(s.gradient[j])
    k_largest(s.scores, support, s.moduli)
    count = 0
    while count < support.size and s.moduli[count] > 0:
        count += 1
    return count


@njit(cache=True, nogil=True)
def _difference(columns, s, size, mu, count):
    """||x' - x||^2 and ||W (x' - x)||^2 of the trial x', and whether x' has the support of x."""
    s.image[:] = 0
    change2, same = 0.0, size == count
    # On the trial's support x moves by mu g: columns that enter had x = 0.
    for t in range(count):
        j = s.trial[t]
        delta = mu * s.gradient[j]
        change2 += float(delta) ** 2
        subtract(columns, j, s.image.dtype.type(delta), s.image)
    # A column that leaves moves back to 0.
    for t in range(size):
        j = s.support[t]
        if not s.entered[j]:
            same = False
            change2 += float(s.x[j]) ** 2
            subtract(columns, j, -s.x[j], s.image)
    return change2, norm(s.image) ** 2, same
