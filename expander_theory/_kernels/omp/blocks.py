"""Columns of two blocks, r dense ones and then masked ones, as one flat array.

``rows`` (n - r, d) are those of the masked columns, and ``values``, of one axis, holds r columns of m values and then
n - r of d. The number of axes tells a kernel, when it is compiled, what it is given: for masks nothing changes.
"""

from expander_theory.base import njit


@njit(cache=True, nogil=True)
def dense_count(rows, values, m):
    """r."""
    return (values.size - rows.size) // m


@njit(cache=True, nogil=True)
def count(rows, values, m):
    """n."""
    return dense_count(rows, values, m) + rows.shape[0]


@njit(cache=True, nogil=True)
def inner(rows, values, j, residuals, lane):
    """<w_j, residual>."""
    m, d = residuals.shape[0], rows.shape[1]
    r = dense_count(rows, values, m)
    if j < r:
        return _dense_inner(values, j * m, residuals, lane)
    total, masked, first = residuals.dtype.type(0), j - r, r * m + (j - r) * d
    for i in range(d):
        total += values[first + i] * residuals[rows[masked, i], lane]
    return total


@njit(cache=True, nogil=True)
def _dense_inner(values, first, residuals, lane):
    """In eight sums, so that they need not wait for each other."""
    m = residuals.shape[0]
    whole = m // 8 * 8
    zero = residuals.dtype.type(0)
    a, b, c, d, e, f, g, h = zero, zero, zero, zero, zero, zero, zero, zero
    for i in range(0, whole, 8):
        a += values[first + i] * residuals[i, lane]
        b += values[first + i + 1] * residuals[i + 1, lane]
        c += values[first + i + 2] * residuals[i + 2, lane]
        d += values[first + i + 3] * residuals[i + 3, lane]
        e += values[first + i + 4] * residuals[i + 4, lane]
        f += values[first + i + 5] * residuals[i + 5, lane]
        g += values[first + i + 6] * residuals[i + 6, lane]
        h += values[first + i + 7] * residuals[i + 7, lane]
    for i in range(whole, m):
        a += values[first + i] * residuals[i, lane]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@njit(cache=True, nogil=True)
def subtract(rows, values, j, coefficient, residuals, lane):
    """residual -= coefficient w_j."""
    m, d = residuals.shape[0], rows.shape[1]
    r = dense_count(rows, values, m)
    if j < r:
        for i in range(m):
            residuals[i, lane] -= coefficient * values[j * m + i]
    else:
        masked, first = j - r, r * m + (j - r) * d
        for i in range(d):
            residuals[rows[masked, i], lane] -= coefficient * values[first + i]


@njit(cache=True, nogil=True)
def overlaps(rows, values, atom, indices, b, t, spread, g):
    """g = W_S^T w; returns ||w||^2. ``spread`` (m,) is zero between calls."""
    m, d = spread.size, rows.shape[1]
    r = dense_count(rows, values, m)
    if atom < r:
        column = values[atom * m : (atom + 1) * m].reshape(m, 1)
        for l in range(t):
            g[l] = inner(rows, values, indices[b, l], column, 0)
        return inner(rows, values, atom, column, 0)
    # A masked atom meets a dense one in its own d entries; for masked ones it is spread over a vector of length m.
    own = atom - r
    first = r * m + own * d
    norm2 = values.dtype.type(0)
    for i in range(d):
        spread[rows[own, i]] = values[first + i]
        norm2 += values[first + i] * values[first + i]
    for l in range(t):
        j = indices[b, l]
        total = values.dtype.type(0)
        if j < r:
            for i in range(d):
                total += values[first + i] * values[j * m + rows[own, i]]
        else:
            start = r * m + (j - r) * d
            for i in range(d):
                total += values[start + i] * spread[rows[j - r, i]]
        g[l] = total
    for i in range(d):
        spread[rows[own, i]] = 0
    return norm2
