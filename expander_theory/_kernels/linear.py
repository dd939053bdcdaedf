"""Products with a masked dictionary: column j has values[j, i] at rows[j, i]."""

import numpy as np
from numba import njit


@njit(cache=True)
def gather(rows, values, h, out):
    """out[b, j] = sum_i values[j, i] h[b, rows[j, i]]: the correlation W^T h in n d steps a signal."""
    n, d = rows.shape
    for b in range(h.shape[0]):
        for j in range(n):
            total = h.dtype.type(0)
            for i in range(d):
                total += values[j, i] * h[b, rows[j, i]]
            out[b, j] = total


@njit(cache=True)
def scatter(rows, values, x, out):
    """out[b] = W x[b], touching only the columns with x[b, j] != 0; ``out`` starts at zero."""
    n, d = rows.shape
    for b in range(x.shape[0]):
        for j in range(n):
            coefficient = x[b, j]
            if coefficient != 0:
                for i in range(d):
                    out[b, rows[j, i]] += coefficient * values[j, i]


@njit(cache=True)
def row_norms(values, out):
    """out[j] = ||values[j]||_2 in float64, scaled by the largest modulus: squares neither overflow nor vanish."""
    for j in range(values.shape[0]):
        largest = 0.0
        for i in range(values.shape[1]):
            largest = max(largest, abs(np.float64(values[j, i])))
        total = 0.0
        for i in range(values.shape[1]):
            total += (values[j, i] / largest) ** 2
        out[j] = largest * np.sqrt(total)
