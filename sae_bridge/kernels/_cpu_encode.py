"""The encoder's loops: scores and the k largest in one pass; they release the interpreter lock.

Masked, a token costs n d multiply-adds at vector speed and, since candidates are compared with the k-th largest so far,
some k ln(n / k) insertions; dense, one pass over its n scores. Counters are unsigned where they are indices, which
spares numba's test for negative ones. The functions inside take single arrays: see
:mod:`expander_theory._kernels.omp.pursuit` for what numba asks for tuples of them.
"""

import numpy as np

from expander_theory.base import njit
from sae_bridge.kernels._cpu_shortlists import bits_of, cut, key_of, sort
from sae_bridge.kernels._cpu_vectors import fill, find, lowest

ZERO, ONE = np.uint64(0), np.uint64(1)
BLOCK = 64  # columns between two looks at their candidates


@njit(cache=True, nogil=True)
def encode_masked(x, weight, rows, bias, k, magnitude, tile, keys, acts, indices):
    """The (batch, n) scores are never stored. See the package's docstring.

    Args:
        rows: uint32.
        tile: scratch, (m + BLOCK + 2, lanes), aligned: the tile, scores that were found, thresholds.
        keys: scratch, integers of the width of x, (lanes, room).
    """
    # The scratch tile in three parts: tokens side by side, scores of the columns found in a block, a threshold a lane.
    (batch, m), n, lanes = x.shape, rows.shape[0], tile.shape[1]
    tokens, scores, least = tile[:m], tile[m : m + BLOCK + 1], tile[m + BLOCK + 1]
    score_bits, least_bits = scores.view(keys.dtype), least.view(keys.dtype)
    marks = np.empty(BLOCK + 1, np.int64)
    order, room = np.empty(keys.shape, np.int32), np.uint64(keys.shape[1])
    counts, floors = np.zeros(lanes, np.uint64), np.empty(lanes, keys.dtype)
    out_keys, out_order = np.empty(k, keys.dtype), np.empty(k, np.int32)
    top, infinity = _limits(x, keys)
    for first in range(0, batch, lanes):
        # Load as many tokens as there are lanes. Lists are empty; a threshold of NaN lets every score pass, one of
        # infinity none (lanes without a token).
        width = min(lanes, batch - first)
        real = (1 << width) - 1
        fill(x, first, tokens)
        counts[:] = 0
        floors[:] = ~top
        least[:] = np.inf
        least[:width] = np.nan
        for start in range(0, n, BLOCK):
            # Score a block of columns for all lanes; only columns above some lane's threshold come back.
            found = find(rows, weight, bias, tokens, least, magnitude, start, min(n, start + BLOCK), scores, marks)
            for slot in range(np.uint64(found)):
                # Enter the score into the list of each lane that it is above, lane by lane from the lowest bit.
                j, todo = marks[slot] >> 32, marks[slot] & real
                while todo != 0:
                    lane = lowest(todo)
                    todo &= todo - 1
                    bits = score_bits[slot, lane]
                    key = key_of(bits, magnitude, top, infinity)
                    # The threshold may have risen since the block was scored.
                    if key > floors[lane]:
                        count = counts[lane]
                        keys[lane, count] = key
                        order[lane, count] = j if bits >= 0 else ~j
                        count += ONE
                        # A full list is cut to little more than k, and what it has lost raises the lane's threshold.
                        if count == room:
                            count, floors[lane] = cut(keys, order, lane, count, k, k // 2)
                            least_bits[lane] = bits_of(floors[lane], False, 0, top)
                        counts[lane] = count
        # Cut each list to k, sort it and write it.
        for lane in range(width):
            _finish(keys, order, lane, counts[lane], k, magnitude, top, out_keys, out_order, acts[first + lane])
            _indices(out_order, indices[first + lane])


@njit(cache=True, nogil=True)
def largest(scores, k, magnitude, keys, acts, indices):
    """The k largest of every row of ``scores`` (batch, n); ``keys`` as above, of one lane."""
    order, room = np.empty(keys.shape, np.int32), np.uint64(keys.shape[1])
    out_keys, out_order = np.empty(k, keys.dtype), np.empty(k, np.int32)
    top, infinity = _limits(scores, keys)
    bits = scores.view(keys.dtype)
    # The same lists, fed from scores that are there already.
    for b in range(scores.shape[0]):
        count, floor = ZERO, keys.dtype.type(~top)
        for j in range(scores.shape[1]):
            key = key_of(bits[b, j], magnitude, top, infinity)
            if key > floor:
                keys[0, count] = key
                order[0, count] = j if bits[b, j] >= 0 else ~j
                count += ONE
                if count == room:
                    count, floor = cut(keys, order, ZERO, count, k, k // 2)
        _finish(keys, order, 0, count, k, magnitude, top, out_keys, out_order, acts[b])
        _indices(out_order, indices[b])


@njit(cache=True, nogil=True)
def _limits(x, keys):
    """The largest integer of the width of x, and infinity's bits."""
    infinity = np.full(1, np.inf, x.dtype).view(keys.dtype)[0]
    return keys.dtype.type(np.iinfo(keys.dtype).max), infinity


@njit(cache=True, nogil=True)
def _finish(keys, order, lane, count, k, magnitude, top, out_keys, out_order, acts):
    """The k largest of a lane's list, sorted: their scores to ``acts``, their indices to ``out_order``."""
    cut(keys, order, np.uint64(lane), count, k, 0)
    sort(keys, order, lane, k, out_keys, out_order)
    bits = acts.view(keys.dtype)
    for i in range(k):
        bits[i] = bits_of(out_keys[i], magnitude, out_order[i], top)


@njit(cache=True, nogil=True)
def _indices(out_order, indices):
    """Indices without the sign bit that :mod:`_cpu_shortlists` puts on those of negative scores."""
    for i in range(indices.size):
        index = out_order[i]
        indices[i] = index if index >= 0 else ~index
