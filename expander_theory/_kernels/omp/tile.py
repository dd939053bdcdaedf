"""OMP on masked columns, tile backend: as many signals in lockstep as a tile has lanes.

One pass over the columns correlates all lanes and keeps each lane's best atom in registers; nothing is stored per
column. A lane whose signal has stopped takes the next one, so early stops cost nothing. Work: n d multiply-adds a step
and signal at vector speed, plus the least squares of :mod:`pursuit`.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.linear.vectors import aligned, correlate_best, lanes_of, squared_norms
from expander_theory._kernels.omp import pursuit as p
from expander_theory.base import njit


class Tile(NamedTuple):
    """Residuals (m, lanes), ||r||^2, best score and atom of each lane, U of each lane by rows and by columns."""

    residuals: Any
    left2: Any
    best: Any
    atoms: Any
    upper: Any
    lower: Any


def new_tile(k: int, m: int, dtype: Any) -> Tile:
    """Workspace for sparsity up to k."""
    lanes = lanes_of(dtype)
    residuals = aligned((m, lanes), dtype)
    residuals[:] = 0
    upper, lower = np.zeros((lanes, k, k), dtype), np.zeros((lanes, k, k), dtype)
    return Tile(residuals, aligned(lanes, dtype), aligned(lanes, dtype), aligned(lanes, np.int32), upper, lower)


@njit(cache=True, nogil=True)
def omp_tile(rows, values, signals, rule, found, tile, scratch):
    """Fill one row of ``found`` per signal."""
    h, scales, ks, given, planted = signals
    tolerance, pivot, signed = rule
    indices, coefficients, steps, status, final, coefficient_path, residual_path = found
    residuals, left2, best, atoms, upper, lower = tile
    g, v, u, spread, _q, _touched, _stamp, own = scratch
    batch, lanes = h.shape[0], residuals.shape[1]
    least = best.dtype.type(-np.inf if signed else -1)
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
            best[lane], atoms[lane] = least, 0
        # Correlate: one pass over all columns gives each lane's best atom for its residual, and ||r||^2 beside it.
        squared_norms(residuals, left2)
        correlate_best(rows, values, residuals, best, atoms, signed)
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
