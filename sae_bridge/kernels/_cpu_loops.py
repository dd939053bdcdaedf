"""Numba loops of :mod:`sae_bridge.kernels.cpu`; they release the interpreter lock."""

import numpy as np
from numba import njit

LANES = 16


@njit(cache=True, nogil=True)
def _insert(score, j, acts, indices):
    """Put (score, j) into the decreasing list ``acts``; its last entry falls out."""
    place = acts.size - 1
    while place > 0 and score > acts[place - 1]:
        acts[place] = acts[place - 1]
        indices[place] = indices[place - 1]
        place -= 1
    acts[place] = score
    indices[place] = j


@njit(cache=True, nogil=True)
def encode(x, weight, rows, bias, acts, indices):
    """Correlation, bias and top-k in one pass: the (batch, n) scores are never stored.

    LANES tokens go in lockstep, so that each gathered row is one contiguous vector. Equal scores
    keep the lower index first.
    """
    batch, m = x.shape
    n, d = rows.shape
    k = acts.shape[1]
    tile = np.zeros((m, LANES), x.dtype)
    total = np.empty(LANES, x.dtype)
    least = np.empty(LANES, x.dtype)
    for first in range(0, batch, LANES):
        width = min(LANES, batch - first)
        for lane in range(width):
            for i in range(m):
                tile[i, lane] = x[first + lane, i]
            acts[first + lane, :] = -np.inf
            indices[first + lane, :] = 0
            least[lane] = -np.inf
        for lane in range(width, LANES):
            least[lane] = np.inf
        for j in range(n):
            for lane in range(LANES):
                total[lane] = bias[j]
            for i in range(d):
                w, row = weight[j, i], rows[j, i]
                for lane in range(LANES):
                    total[lane] += w * tile[row, lane]
            for lane in range(LANES):
                if total[lane] > least[lane]:
                    _insert(total[lane], j, acts[first + lane], indices[first + lane])
                    least[lane] = acts[first + lane, k - 1]


@njit(cache=True, nogil=True)
def combine_masked(acts, indices, weight, rows, out):
    for b in range(acts.shape[0]):
        for t in range(acts.shape[1]):
            a, j = acts[b, t], indices[b, t]
            for i in range(rows.shape[1]):
                out[b, rows[j, i]] += a * weight[j, i]


@njit(cache=True, nogil=True)
def combine_dense(acts, indices, weight, out):
    for b in range(acts.shape[0]):
        for t in range(acts.shape[1]):
            a, column = acts[b, t], weight[indices[b, t]]
            for i in range(column.size):
                out[b, i] += a * column[i]


@njit(cache=True, nogil=True)
def pull_masked(g, indices, weight, rows, out):
    for b in range(indices.shape[0]):
        for t in range(indices.shape[1]):
            j = indices[b, t]
            total = g.dtype.type(0)
            for i in range(rows.shape[1]):
                total += weight[j, i] * g[b, rows[j, i]]
            out[b, t] = total


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def pull_dense(g, indices, weight, out):
    for b in range(indices.shape[0]):
        for t in range(indices.shape[1]):
            column = weight[indices[b, t]]
            total = g.dtype.type(0)
            for i in range(column.size):
                total += column[i] * g[b, i]
            out[b, t] = total


@njit(cache=True, nogil=True)
def accumulate_masked(acts, indices, g, rows, out):
    for b in range(acts.shape[0]):
        for t in range(acts.shape[1]):
            a, j = acts[b, t], indices[b, t]
            for i in range(rows.shape[1]):
                out[j, i] += a * g[b, rows[j, i]]


@njit(cache=True, nogil=True)
def accumulate_dense(acts, indices, g, first, out):
    """``out`` is the slice of the gradient that starts at column ``first`` of g."""
    for b in range(acts.shape[0]):
        for t in range(acts.shape[1]):
            a, j = acts[b, t], indices[b, t]
            for i in range(out.shape[1]):
                out[j, i] += a * g[b, first + i]
