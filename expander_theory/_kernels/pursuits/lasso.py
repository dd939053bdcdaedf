"""The lasso by cyclic coordinate descent on working sets, to a duality gap.

A round costs one correlation with all columns, O(n d) on a mask and O(n m) dense, and passes over the columns that may
be in the code, O(d) a column on a mask and O(m) dense, with Anderson's extrapolation every few passes. There are some
ten rounds.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.pursuits.atoms import (
    ITERATION_LIMIT,
    NO_CORRELATION,
    OPTIMAL,
    RESIDUAL_SMALL,
    correlate,
    inner,
    norm,
    squared_norm,
    subtract,
)
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory.base import njit

MEMORY = 5
"""Differences of codes that an extrapolation combines, one a pass: as many as Bertrand and Massias (2021) take."""

LEAST = 16
"""Columns that a working set may grow by at least."""


class Penalty(NamedTuple):
    """alpha, and whether codes are nonnegative."""

    alpha: float
    nonnegative: bool


class _Programme(NamedTuple):
    """min 1/2 ||h - W x||^2 + weight ||x||_1, squared norms of the columns, and the limits of the search."""

    columns: Any
    signal: Any
    squares: Any
    weight: float
    nonnegative: bool
    goal: float
    limit: int


@njit(cache=True, nogil=True)
def lasso(columns, h, penalty, limit, tolerance, x, status, iterations):
    """The minimiser of every signal in a row of ``x``, which is zero at first; status and passes."""
    n, m = columns.values.shape[0], h.shape[1]
    residual, correlations = np.empty(m, h.dtype), np.empty(n, h.dtype)
    squares = np.empty(n)
    for j in range(n):
        squares[j] = squared_norm(columns, j)
    for b in range(h.shape[0]):
        residual[:] = h[b]
        square = norm(residual) ** 2
        correlate(columns, residual, correlations)
        top = correlations.max() if penalty.nonnegative else np.abs(correlations).max()
        if square == 0:
            status[b] = RESIDUAL_SMALL
        elif top <= 0:
            status[b] = NO_CORRELATION
        else:
            goal = tolerance * square / 2
            task = _Programme(columns, h[b], squares, penalty.alpha * float(top), penalty.nonnegative, goal, limit)
            status[b], iterations[b] = _solve(task, x[b], residual, correlations)


@njit(cache=True, nogil=True)
def _solve(task, x, residual, correlations):
    """Rounds of a working set until the duality gap is small; returns status and passes."""
    n, passes = x.size, 0
    scores, working = np.empty(n, x.dtype), np.empty(n, np.bool_)
    while True:
        # The residual is formed anew, so that rounding errors of the passes do not add up.
        residual[:] = task.signal
        count, total = 0, 0.0
        for j in range(n):
            if x[j] != 0:
                subtract(task.columns, j, x[j], residual)
                count += 1
                total += abs(float(x[j]))
        correlate(task.columns, residual, correlations)
        top = correlations.max() if task.nonnegative else np.abs(correlations).max()
        gap = _gap(task, residual, float(top), total)
        if gap <= task.goal:
            return OPTIMAL, passes
        if passes >= task.limit:
            return ITERATION_LIMIT, passes
        # Work on the columns of the code and those that violate the optimality conditions most.
        for j in range(n):
            working[j] = x[j] != 0
            score = correlations[j] if task.nonnegative else abs(correlations[j])
            scores[j] = score if x[j] == 0 and score > task.weight else 0
        picks = np.empty(min(n, max(LEAST, count)), np.int64)
        moduli = np.empty(picks.size, x.dtype)
        k_largest(scores, picks, moduli)
        for p in range(picks.size):
            if moduli[p] > 0:
                working[picks[p]] = True
        passes += _descend(
            task, np.flatnonzero(working), x, residual, max(0.3 * gap, task.goal) / 2, task.limit - passes
        )


@njit(cache=True, nogil=True)
def _gap(task, residual, top, total):
    """Primal less dual objective at the residual scaled to feasibility, for the largest correlation and ||x||_1."""
    # The dual is s <h, r> - s^2 ||r||^2 / 2; it is largest at s = <h, r> / ||r||^2, if that is feasible.
    square = 0.0
    product = 0.0
    for i in range(residual.size):
        square += float(residual[i]) ** 2
        product += float(residual[i]) * float(task.signal[i])
    most = task.weight / top if top > 0 else np.inf
    s = product / square if square > 0 else 0.0
    s = min(most, s) if task.nonnegative else max(-most, min(most, s))
    return square / 2 + task.weight * total - s * product + s * s * square / 2


@njit(cache=True, nogil=True)
def _descend(task, atoms, x, residual, goal, limit):
    """Passes over ``atoms``, in increasing order, until the duality gap among them is at most ``goal``; how many."""
    history = np.empty((MEMORY + 1, atoms.size))
    for t in range(atoms.size):
        history[0, t] = x[atoms[t]]
    kept = 0
    for done in range(1, limit + 1):
        total = _pass(task, atoms, x, residual)
        kept += 1
        for t in range(atoms.size):
            history[kept, t] = x[atoms[t]]
        if kept < MEMORY:
            continue
        total = _extrapolate(task, atoms, x, residual, history, total)
        kept = 0
        for t in range(atoms.size):
            history[0, t] = x[atoms[t]]
        top = 0.0
        for j in atoms:
            correlation = float(inner(task.columns, j, residual))
            top = max(top, correlation if task.nonnegative else abs(correlation))
        if _gap(task, residual, top, total) <= goal:
            return done
    return limit


@njit(cache=True, nogil=True)
def _pass(task, atoms, x, residual):
    """The minimiser over one coordinate after the other; returns ||x||_1 of them."""
    total = 0.0
    for j in atoms:
        if task.squares[j] == 0:
            continue
        before = float(x[j])
        u = before * task.squares[j] + float(inner(task.columns, j, residual))
        after = max(abs(u) - task.weight, 0.0) / task.squares[j]
        if u < 0:
            after = 0.0 if task.nonnegative else -after
        x[j] = after
        change = x[j] - x.dtype.type(before)
        if change != 0:
            subtract(task.columns, j, change, residual)
        total += abs(float(x[j]))
    return total


@njit(cache=True, nogil=True)
def _extrapolate(task, atoms, x, residual, history, total):
    """Go where the last passes lead, if the objective is smaller there (Anderson); returns ||x||_1."""
    # Weights of least || sum_i c_i (x_i+1 - x_i) ||, with sum c = 1.
    gram = np.zeros((MEMORY, MEMORY))
    for i in range(MEMORY):
        for l in range(i + 1):
            for t in range(atoms.size):
                gram[i, l] += (history[i + 1, t] - history[i, t]) * (history[l + 1, t] - history[l, t])
            gram[l, i] = gram[i, l]
    trace = 0.0
    for i in range(MEMORY):
        trace += gram[i, i]
    if trace == 0:
        return total
    for i in range(MEMORY):
        gram[i, i] += 1e-10 * trace
    c = np.linalg.solve(gram, np.ones(MEMORY))
    if c.sum() == 0:
        return total
    c /= c.sum()
    # There, with what is not in the code any more left out.
    moved, trial = np.zeros(atoms.size, x.dtype), residual.copy()
    size = 0.0
    for t in range(atoms.size):
        value = 0.0
        for i in range(MEMORY):
            value += c[i] * history[i + 1, t]
        if x[atoms[t]] == 0 or (task.nonnegative and value < 0):
            value = 0.0
        moved[t] = value
        size += abs(float(moved[t]))
        if moved[t] != x[atoms[t]]:
            subtract(task.columns, atoms[t], moved[t] - x[atoms[t]], trial)
    if norm(trial) ** 2 / 2 + task.weight * size >= norm(residual) ** 2 / 2 + task.weight * total:
        return total
    residual[:] = trial
    for t in range(atoms.size):
        x[atoms[t]] = moved[t]
    return size
