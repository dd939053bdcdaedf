"""OMP on blocks, tile backend: :mod:`tile` with r dense columns before the masked ones.

The dense columns are correlated with all lanes by a matrix product. Once one of them is chosen, every later step
changes the whole residual: that part of it is taken from all lanes at once, before the next correlation, by another
product. Work: (n - r) d + 2 r m multiply-adds a step and signal at vector speed, plus the least squares of
:mod:`pursuit`, in which a dense atom meets every other one.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.linear.dense_vectors import correlate_columns, subtract_columns
from expander_theory._kernels.linear.vectors import aligned
from expander_theory._kernels.omp import blocks, pursuit as p
from expander_theory._kernels.omp.tile import Tile, new_tile, search
from expander_theory.base import njit


class BlockTile(NamedTuple):
    """A tile; correlations of the dense columns, and what the residuals still have to lose of them, (r, lanes) each."""

    tile: Tile
    scores: Any
    moves: Any


def new_block_tile(k: int, m: int, n: int, r: int, dtype: Any) -> BlockTile:
    """Workspace for sparsity up to k and n columns, r of them dense."""
    tile = new_tile(k, m, n - r, dtype)
    shape = (r, tile.residuals.shape[1])
    moves = aligned(shape, dtype)
    moves[:] = 0
    return BlockTile(tile, aligned(shape, dtype), moves)


@njit(cache=True, nogil=True)
def omp_block_tile(rows, values, dense, masked, weights, signals, rule, found, workspace, scratch):
    """Fill one row of ``found`` per signal. ``dense`` (r, m) and ``masked`` (n - r, d) are the parts of ``values``,
    ``weights`` those of the masked ones as integers, see :func:`screens.words`."""
    h, scales, ks, given, planted = signals
    tolerance, pivot, signed = rule
    indices, coefficients, steps, status, final, coefficient_path, residual_path = found
    tile, scores, moves = workspace
    residuals, left2, best, atoms, _words, _factors, _peaks, _top, _blocks, upper, lower = tile
    g, v, u, spread, _q, _touched, _stamp, own = scratch
    batch, lanes, r = h.shape[0], residuals.shape[1], dense.shape[0]
    owner = np.full(lanes, -1, np.int64)
    norms2 = np.zeros(lanes)
    waiting, busy = 0, 1
    while busy:
        # What the dense atoms take from the residuals, of all lanes at once.
        subtract_columns(dense, moves, residuals)
        moves[:] = 0
        # Fill free lanes with the next signals.
        busy = 0
        for lane in range(lanes):
            while owner[lane] < 0 and waiting < batch:
                norms2[lane] = p.load(h, scales, waiting, residuals, lane)
                owner[lane] = waiting
                waiting += 1
            busy += owner[lane] >= 0
        # Correlate: all scores of the dense columns, the best of the masked ones, and ||r||^2 beside them.
        correlate_columns(dense, scores, residuals)
        search(rows, masked, weights, tile, owner, signed)
        for lane in range(lanes):
            b = owner[lane]
            if b < 0:
                continue
            # ||r||^2 is that after the step before, which is recorded and judged only now.
            t = steps[b]
            p.record(coefficients, steps, coefficient_path, residual_path, b, left2[lane])
            reason = p.state(tolerance, norms2[lane], left2[lane], t, ks[b])
            if reason == p.RUNNING:
                # Select: the lane's best atom, unless one is given for this step; among equals a dense one, of the
                # lower index. Only rounding is left of the correlations of chosen atoms.
                atom = r + np.int64(atoms[lane])
                height = best[lane]
                for l in range(r - 1, -1, -1):
                    value = scores[l, lane] if signed else abs(scores[l, lane])
                    if value >= height:
                        height, atom = value, np.int64(l)
                forced = t < given.shape[1] and given[b, t] >= 0
                if forced:
                    atom = np.int64(given[b, t])
                elif p.holds(indices, b, t, atom):
                    atom = _best_unchosen(rows, values, residuals, lane, indices, b, t, signed)
                # The score again, signed, also for an atom that was given.
                score = scores[atom, lane] if atom < r else p.inner(rows, values, atom, residuals, lane)
                if not forced and (score == 0 or (signed and score < 0)):
                    reason = p.NO_CORRELATION
                elif planted.shape[1] and not p.holds(planted, b, planted.shape[1], atom):
                    reason = p.FIRST_MISS
                else:
                    # Orthogonalise against the support: append to U.
                    norm2 = blocks.overlaps(rows, values, atom, indices, b, t, spread, g)
                    rho = p.extend(upper, lower, lane, t, norm2, pivot, g, v, u)
                    if rho == 0:
                        reason = p.DEPENDENT_ATOM
                    else:
                        # Project: move the residual and all coefficients along the new direction.
                        step = score / rho
                        _descend(rows, masked, residuals, moves, lane, indices, b, t, atom, step, u)
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
def _descend(rows, masked, residuals, moves, lane, indices, b, t, atom, step, u):
    """residual -= step (w + W_S u): of masked atoms now, of dense ones by ``moves``."""
    r = moves.shape[0]
    for l in range(t + 1):
        j = atom if l == t else np.int64(indices[b, l])
        weight = step if l == t else step * u[l]
        if j < r:
            moves[j, lane] = weight
        elif weight != 0:
            for i in range(rows.shape[1]):
                residuals[rows[j - r, i], lane] -= weight * masked[j - r, i]


@njit(cache=True, nogil=True)
def _best_unchosen(rows, values, residuals, lane, indices, b, t, signed):
    """The best atom outside the support: rounding has left a chosen one in front."""
    best, atom = residuals.dtype.type(-np.inf), np.int64(0)
    for j in range(blocks.count(rows, values, residuals.shape[0])):
        score = p.inner(rows, values, j, residuals, lane)
        if not signed:
            score = abs(score)
        if score > best and not p.holds(indices, b, t, j):
            best, atom = score, np.int64(j)
    return atom
