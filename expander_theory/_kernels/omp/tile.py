"""OMP on masked columns, tile backend: as many signals in lockstep as a tile has lanes.

One pass over the columns screens all lanes in 16-bit integers (:mod:`expander_theory._kernels.linear.screens`); exact
correlations are computed only for the few columns that may be the best of a lane. A lane whose signal has stopped takes
the next one, so early stops cost nothing. Work: n d products of integers a step and signal at vector speed, plus the
least squares of :mod:`pursuit`.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.linear import screens
from expander_theory._kernels.linear.vectors import aligned, lanes_of, squared_norms
from expander_theory._kernels.omp import pursuit as p
from expander_theory.base import njit


class Tile(NamedTuple):
    """Residuals (m, lanes), ||r||^2, best score and atom of each lane, U of each lane by rows and by columns; and of
    the screen: residuals as integers, their factors, largest scores by block and of all, blocks to look into."""

    residuals: Any
    left2: Any
    best: Any
    atoms: Any
    words: Any
    factors: Any
    peaks: Any
    top: Any
    blocks: Any
    upper: Any
    lower: Any


def new_tile(k: int, m: int, n: int, dtype: Any) -> Tile:
    """Workspace for n columns and sparsity up to k."""
    lanes, blocks = lanes_of(dtype), -(-n // screens.BLOCK)
    residuals = aligned((m, lanes), dtype)
    residuals[:] = 0
    upper, lower = np.zeros((lanes, k, k), dtype), np.zeros((lanes, k, k), dtype)
    left2, best, factors = (aligned(lanes, dtype) for _ in range(3))
    words, peaks, top = (aligned(shape, np.int16) for shape in ((m, lanes), (blocks, lanes), lanes))
    marks = np.zeros(blocks, np.uint32)
    return Tile(residuals, left2, best, aligned(lanes, np.int32), words, factors, peaks, top, marks, upper, lower)


@njit(cache=True, nogil=True)
def omp_tile(rows, values, weights, signals, rule, found, tile, scratch):
    """Fill one row of ``found`` per signal; ``weights`` are the values as integers, see :func:`screens.words`."""
    h, scales, ks, given, planted = signals
    tolerance, pivot, signed = rule
    indices, coefficients, steps, status, final, coefficient_path, residual_path = found
    residuals, left2, _best, atoms, _words, _factors, _peaks, _top, _blocks, upper, lower = tile
    g, v, u, spread, _q, _touched, _stamp, own = scratch
    batch, lanes = h.shape[0], residuals.shape[1]
    owner = np.full(lanes, -1, np.int64)
    norms2 = np.zeros(lanes)
    waiting, busy = 0, 1
    while busy:
        # Fill free lanes with the next signals.
        busy = 0
        for lane in range(lanes):
            while owner[lane] < 0 and waiting < batch:
                norms2[lane] = p.load(h, scales, waiting, residuals, lane)
                owner[lane] = waiting
                waiting += 1
            busy += owner[lane] >= 0
        # Correlate: the best atom of each lane, and ||r||^2 beside it.
        search(rows, values, weights, tile, owner, signed)
        for lane in range(lanes):
            b = owner[lane]
            if b < 0:
                continue
            # ||r||^2 is that after the step before, which is recorded and judged only now.
            t = steps[b]
            p.record(coefficients, steps, coefficient_path, residual_path, b, left2[lane])
            reason = p.state(tolerance, norms2[lane], left2[lane], t, ks[b])
            if reason == p.RUNNING:
                # Select: the lane's best atom, unless one is given for this step. r is orthogonal to the support up to
                # rounding, so a chosen atom comes first only where no correlation exceeds that.
                atom = np.int64(atoms[lane])
                forced = t < given.shape[1] and given[b, t] >= 0
                if forced:
                    atom = np.int64(given[b, t])
                elif p.holds(indices, b, t, atom):
                    atom = _best_unchosen(rows, values, residuals, lane, indices, b, t, signed)
                # The score again in this module's order of summation, signed, also for an atom that was given.
                score = p.inner(rows, values, atom, residuals, lane)
                if not forced and (score == 0 or (signed and score < 0)):
                    reason = p.NO_CORRELATION
                elif planted.shape[1] and not p.holds(planted, b, planted.shape[1], atom):
                    reason = p.FIRST_MISS
                else:
                    # Orthogonalise against the support: append to U.
                    norm2 = p.overlaps(rows, values, atom, indices, b, t, spread, g)
                    rho = p.extend(upper, lower, lane, t, norm2, pivot, g, v, u)
                    if rho == 0:
                        reason = p.DEPENDENT_ATOM
                    else:
                        # Project: move the residual and all coefficients along the new direction.
                        step = score / rho
                        p.descend(rows, values, residuals, lane, indices, b, t, atom, step, u)
                        p.move(indices, coefficients, steps, b, atom, step, t, u)
                        if t + 1 == ks[b]:
                            reason = p.SPARSITY_REACHED
            # A signal that stops is refined and leaves its lane to the next.
            if reason != p.RUNNING:
                p.finish(
                    rows, values, h, scales, b, reason, tolerance, indices, coefficients, steps, status, final,
                    coefficient_path, residual_path, own, upper, lower, lane, v, u,
                )  # fmt: skip
                owner[lane] = -1


@njit(cache=True, nogil=True)
def search(rows, values, weights, tile, owner, signed):
    """||r||^2 of each lane, and its best score and atom: one pass over all columns shows where that may be."""
    residuals, left2, best, atoms, words, factors, peaks, top, blocks, _upper, _lower = tile
    lanes, d = residuals.shape[1], rows.shape[1]
    squared_norms(residuals, left2)
    for lane in range(lanes):
        factors[lane] = screens.room(d) / np.sqrt(left2[lane]) if left2[lane] > 0 else 0
    screens.to_words(residuals, factors, words)
    screens.screen(rows, weights, words, signed, peaks, top, residuals)
    for lane in range(lanes):
        best[lane], atoms[lane] = -np.inf, 0
        least = max(-screens.FULL, top[lane] - 2 * screens.error(d))
        top[lane] = least if owner[lane] >= 0 else screens.FULL
    screens.reached(peaks, top, blocks, residuals)
    _raise(rows, values, residuals, blocks, best, atoms, signed)


@njit(cache=True, nogil=True)
def _raise(rows, values, residuals, blocks, best, atoms, signed):
    """The best score and atom of each lane, the lowest of equals, from the blocks marked for it."""
    for block in range(blocks.size):
        marks = blocks[block]
        if marks == 0:
            continue
        first = block * screens.BLOCK
        for lane in range(best.size):
            if marks >> np.uint32(lane) & np.uint32(1):
                for j in range(first, min(rows.shape[0], first + screens.BLOCK)):
                    score = p.inner(rows, values, j, residuals, lane)
                    score = score if signed else abs(score)
                    if score > best[lane]:
                        best[lane], atoms[lane] = score, j


@njit(cache=True, nogil=True)
def _best_unchosen(rows, values, residuals, lane, indices, b, t, signed):
    """The best atom outside the support: rounding has left a chosen one in front."""
    best, atom = residuals.dtype.type(-np.inf), 0
    for j in range(rows.shape[0]):
        score = p.inner(rows, values, j, residuals, lane)
        if not signed:
            score = abs(score)
        if score > best and not p.holds(indices, b, t, j):
            best, atom = score, j
    return atom
