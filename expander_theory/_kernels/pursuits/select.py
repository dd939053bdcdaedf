"""Choosing the largest scores: one pass of n comparisons, and the insertions."""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def k_largest(scores, indices, values):
    """The k = indices.size largest scores, decreasing; equal scores keep the lower index first.

    One pass with a sorted buffer: a random order needs about k ln(n/k) insertions.
    """
    k = indices.size
    filled = 0
    for j in range(scores.size):
        score = scores[j]
        if filled == k and not score > values[k - 1]:
            continue
        # Insert: what is smaller moves down by one place, equal scores stay in front; the last falls out.
        place = filled if filled < k else k - 1
        while place > 0 and score > values[place - 1]:
            if place < k:
                values[place] = values[place - 1]
                indices[place] = indices[place - 1]
            place -= 1
        values[place] = score
        indices[place] = j
        if filled < k:
            filled += 1


@njit(cache=True, nogil=True)
def merge(picks, moduli, support):
    """The atoms picked with a nonzero correlation and those of the support, increasing."""
    # The least squares do not need this order, but equal sets must look equal, so that a cycle is seen.
    merged = np.empty(picks.size + support.size, np.int64)
    merged[: support.size] = support
    count = support.size
    for p in range(picks.size):
        if moduli[p] > 0 and not (support == picks[p]).any():
            merged[count] = picks[p]
            count += 1
    return np.sort(merged[:count])
