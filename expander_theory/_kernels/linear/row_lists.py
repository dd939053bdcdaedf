"""The columns that meet each row of a mask: the transposed order of its nonzeros, in two passes over all n d."""

import numpy as np

from expander_theory.base import njit


@njit(cache=True, nogil=True)
def row_lists(rows, values, m, by_sign):
    """By counting: starts (m + 1), middles (m), columns and weights (nnz) of the rows.

    Columns of a row increase; with ``by_sign`` the positive ones come first, and end at ``middles``.
    """
    n, d = rows.shape
    # Count the nonzeros of each row; by sign, the negative ones apart.
    counts = np.zeros((m, 2), np.int64)
    for j in range(n):
        for i in range(d):
            counts[rows[j, i], int(by_sign and values[j, i] < 0)] += 1
    # Running sums: where the list of each row begins, and its second half.
    starts, middles = np.zeros(m + 1, np.int64), np.zeros(m, np.int64)
    for row in range(m):
        middles[row] = starts[row] + counts[row, 0]
        starts[row + 1] = middles[row] + counts[row, 1]
    # Columns go to the next free place of their row, in increasing order as they come.
    place = np.zeros((m, 2), np.int64)
    place[:, 0] = starts[:-1]
    place[:, 1] = middles
    columns, weights = np.empty(n * d, np.int32), np.empty(n * d, values.dtype)
    for j in range(n):
        for i in range(d):
            row, half = rows[j, i], int(by_sign and values[j, i] < 0)
            columns[place[row, half]] = j
            weights[place[row, half]] = values[j, i]
            place[row, half] += 1
    return starts, middles, columns, weights
