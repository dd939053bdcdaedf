"""The k largest of a stream of scores, one list a lane: candidates gather until the list is full, then it is cut.

Scores are kept as integers in the same order (:func:`key_of`), so that NaN and infinities need no care: NaN, of either
sign, is the largest, as in torch.topk. ``order[lane, i]`` is the index j of candidate i, or ~j if its score is
negative: by magnitude the key has lost the sign. Candidates come and stay in increasing j, so that equal
keys keep the lower index.

A cut costs a pass over the list for each bisection of the keys between its ends (at most as many as a key has bits),
and frees a quarter of the list's places or more. Counters are unsigned: numba then leaves out its test for negative
indices, a third of the time of :func:`cut`.
"""

import numpy as np

from expander_theory.base import njit

_RUN = 32  # sorted by counting; longer lists are merged from such runs
_EMPTY = np.int32(-(2**31))


def room_for(k):
    """Candidates that a list holds: large enough that cuts are rare, small enough that all lists stay in the cache."""
    return 2 * k + 32


@njit(cache=True, nogil=True)
def key_of(bits, magnitude, top, infinity):
    """The key of a score, given as the integer with its bits; ``top`` is the largest integer."""
    size = bits & top
    if size > infinity:
        return top
    if magnitude or bits >= 0:
        return size
    return bits ^ top


@njit(cache=True, nogil=True)
def bits_of(key, magnitude, index, top):
    """The score's bits; ``index`` as in ``order``."""
    if magnitude:
        return key | ~top if index < 0 else key
    return key if key >= 0 else key ^ top


@njit(cache=True, nogil=True)
def _above(keys, lane, count, pivot):
    """How many keys exceed the pivot."""
    total = 0
    for i in range(count):
        total += keys[lane, i] > pivot
    return total


@njit(cache=True, nogil=True)
def cut(keys, order, lane, count, k, slack):
    """Keep the largest k to k + slack of ``count >= k`` keys: how many, and a key that any later one has to exceed."""
    # The ends of the list; if few enough keys exceed the lowest, it is the pivot.
    low = high = keys[lane, 0]
    for i in range(np.uint64(count)):
        low = min(low, keys[lane, i])
        high = max(high, keys[lane, i])
    larger = _above(keys, lane, count, low)
    if larger > k + slack:
        # Bisection: at least k keys are above low, fewer than k above high.
        while larger > k + slack:
            middle = keys.dtype.type((low >> 1) + (high >> 1) + (low & high & 1))
            if middle == low:
                low = high  # the k-th largest, of which there are several
                larger = _above(keys, lane, count, low)
                break
            held = _above(keys, lane, count, middle)
            if held >= k:
                low, larger = middle, held
            else:
                high = middle
    # Keep what exceeds the pivot, in place and in order. The key is always written and the place moves on if it stays:
    # no branch depends on the data.
    spare = k - larger  # of those equal to low, the first ones stay
    kept = np.uint64(0)
    if spare <= 0:
        for i in range(np.uint64(count)):
            key, j = keys[lane, i], order[lane, i]
            keys[lane, kept] = key
            order[lane, kept] = j
            kept += np.uint64(key > low)
    else:
        for i in range(np.uint64(count)):
            key, j = keys[lane, i], order[lane, i]
            same = key == low
            keys[lane, kept] = key
            order[lane, kept] = j
            kept += np.uint64((key > low) | (same & (spare > 0)))
            spare -= same
    return kept, low


@njit(cache=True, nogil=True)
def sort(keys, order, lane, k, out_keys, out_order):
    """The first k candidates by decreasing key, equal ones in their order; overwrites the list."""
    # Runs by counting: a key's place is the number of larger ones, or the next free one among its equals.
    out_order[:k] = _EMPTY
    for first in range(0, k, _RUN):
        stop = min(k, first + _RUN)
        run, sorted_keys, sorted_order = keys[lane, first:stop], out_keys[first:stop], out_order[first:stop]
        for i in range(run.size):
            key = run[i]
            rank = np.uint64(0)
            for t in range(run.size):
                rank += np.uint64(run[t] > key)
            while sorted_order[rank] != _EMPTY:
                rank += np.uint64(1)
            sorted_keys[rank] = key
            sorted_order[rank] = order[lane, first + i]
    # Merge neighbouring runs, twice as long each time; of equal keys that of the first run goes first.
    size = _RUN
    while size < k:
        keys[lane, :k] = out_keys[:k]
        order[lane, :k] = out_order[:k]
        for first in range(0, k, 2 * size):
            middle, stop = min(k, first + size), min(k, first + 2 * size)
            a, b = keys[lane, first:middle], keys[lane, middle:stop]
            own, others = order[lane, first:middle], order[lane, middle:stop]
            out, out_places = out_keys[first:stop], out_order[first:stop]
            i = t = np.uint64(0)
            for place in range(out.size):
                mine = t == np.uint64(b.size) or (i < np.uint64(a.size) and a[i] >= b[t])
                if mine:
                    out[place] = a[i]
                    out_places[place] = own[i]
                    i += np.uint64(1)
                else:
                    out[place] = b[t]
                    out_places[place] = others[t]
                    t += np.uint64(1)
        size *= 2
