"""The k best correlations of each signal, in two passes over its n scores: no sort."""

import numpy as np

from expander_theory._kernels.pursuits.atoms import residual_of
from expander_theory.base import njit


@njit(cache=True, nogil=True)
def collect(scores, n, signed, floor, indices, coefficients):
    """Of the first n scores of a row the k best, in order of column; the key is the score or its modulus.

    ``floor[b]`` is the k-th largest key: all larger ones enter, and of those equal to it the first.
    """
    k = indices.shape[1]
    for b in range(indices.shape[0]):
        # How many places are left for scores equal to the k-th largest.
        ties = k
        for j in range(n):
            ties -= (scores[b, j] if signed else abs(scores[b, j])) > floor[b]
        # Collect in order of column, so equal scores enter with the lowest first.
        count = 0
        for j in range(n):
            key = scores[b, j] if signed else abs(scores[b, j])
            if key > floor[b] or (key == floor[b] and ties > 0):
                ties -= key == floor[b]
                indices[b, count], coefficients[b, count] = j, scores[b, j]
                count += 1


@njit(cache=True, nogil=True)
def residual_norms(columns, h, indices, coefficients, out):
    """out[b] = ||h[b] - W x[b]||."""
    residual = np.empty(h.shape[1], h.dtype)
    for b in range(h.shape[0]):
        out[b] = residual_of(columns, h[b], indices[b], coefficients[b], indices.shape[1], residual)
