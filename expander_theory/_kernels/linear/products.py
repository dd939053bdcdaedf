"""Products with a masked dictionary: column j has values[j, i] at rows[j, i].

W^T h costs n d multiply-adds a signal, at vector speed where several signals stand side by side; W x costs d for each
nonzero of x, beside a pass over its n entries.
"""

import numpy as np

from expander_theory._kernels.linear.vectors import BLOCK_BYTES, correlations, correlations_of
from expander_theory.base import njit

_FEW = 3  # signals for which a tile, most of it empty, does not pay
_STREAMS, _ROWS = 8, 64  # signals read side by side, rows written at a time: more would leave the nearest cache


@njit(cache=True)
def correlate(rows, values, h, tile, out):
    """out[b, j] = sum_i values[j, i] h[b, rows[j, i]]: the correlation W^T h in n d steps a signal, all of one dtype.

    As many signals side by side as the scratch ``tile`` (m, lanes) has lanes; it is aligned. The bits of a row of
    ``out`` do not depend on the other signals.
    """
    batch, n, lanes = h.shape[0], rows.shape[0], tile.shape[1]
    whole = n - n % (BLOCK_BYTES // h.itemsize)
    first = 0
    while batch - first > _FEW:
        # As many signals as the tile takes, side by side; whole blocks of columns go through the tile at once.
        width = min(lanes, batch - first)
        _fill(h, first, width, tile)
        if width == lanes:
            correlations(rows[:whole], values[:whole], tile, out[first : first + lanes])
        else:  # a tile that is not full writes a row for every lane, and only the real ones are kept
            found = np.empty((lanes, whole), h.dtype)
            correlations(rows[:whole], values[:whole], tile, found)
            out[first:, :whole] = found[:width]
        # The columns left over one signal at a time, to the same bits as if they were in a block.
        for b in range(first, first + width):
            correlations_of(rows[whole:], values[whole:], h[b], out[b, whole:])
        first += width
    # Few signals that are left would leave most of a tile empty.
    for b in range(first, batch):
        correlations_of(rows, values, h[b], out[b])


@njit(cache=True)
def _fill(h, first, width, tile):
    """The signals h[first], ..., h[first + width - 1] side by side, zero in the other lanes."""
    # A transposition by blocks: whole rows of h would each miss the cache once a row of the tile.
    tile[:, width:] = 0
    for top in range(0, tile.shape[0], _ROWS):
        for begin in range(0, width, _STREAMS):
            end = min(width, begin + _STREAMS)
            for i in range(top, min(tile.shape[0], top + _ROWS)):
                for lane in range(begin, end):
                    tile[i, lane] = h[first + lane, i]


@njit(cache=True)
def gather(rows, values, h, out):
    """:func:`correlate` for values of another dtype than the signals'."""
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
