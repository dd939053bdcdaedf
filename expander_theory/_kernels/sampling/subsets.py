"""Uniform subsets from raw random words: O(d^2) a subset, without a branch on what was drawn."""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def subsets_from(raw, m, out):
    """Fill each row of ``out`` (n, d) with a d-subset of 0..m-1, increasing; False where ``raw`` holds too few words.

    Floyd's algorithm: for t = m-d..m-1 draw u in 0..t; take u, or t where u is taken already. A 32-bit word times
    t + 1 has u in its upper half; it is rejected where its lower half falls below 2^32 mod (t + 1), which would
    favour some u (Lemire 2019), and t = 0 takes no word: numpy's ``Generator.integers`` does the same. The place of
    each element is counted rather than searched for, since branches that cannot be predicted would cost more.
    """
    n, d = out.shape
    taken, place = np.empty(d, np.int32), np.empty(d, np.int32)
    half = np.uint64(32)
    used = 0
    for j in range(n):
        for size in range(d):
            # Draw u in 0..t, rejecting the words that would favour some u.
            bound = np.uint64(m - d + size + 1)
            u = 0
            while bound > 1:
                if used == raw.size:
                    return False
                product = np.uint64(raw[used]) * bound
                used += 1
                low = product & np.uint64(0xFFFFFFFF)
                if low >= bound or low >= (np.uint64(2**32) - bound) % bound:
                    u = np.int64(product >> half)
                    break
            # Where u stands among the elements taken, whether it is one of them, and one place up for all above it.
            below, repeated = 0, 0
            for i in range(size):
                less = taken[i] < u
                below += less
                repeated |= taken[i] == u
                place[i] += not less
            # Taken already: those places go back, and t takes the last one.
            if repeated:
                for i in range(size):
                    place[i] -= taken[i] >= u
                u, below = m - d + size, size  # t exceeds everything taken so far
            taken[size], place[size] = u, below
        for i in range(d):
            out[j, place[i]] = taken[i]
    return True
