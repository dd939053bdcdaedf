"""Block-coordinate steps on the values of columns, codes held constant.

A batch of B signals H (B, m) has codes of at most k atoms each and the residual R = H - X W^T (B, m). The columns of a
dictionary are given by ``rows`` (c, d), the places of their nonzeros, and ``values`` (c, d); they are columns ``first``
to ``first + c - 1`` of the whole one. Dense columns are those with all rows, d = m.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import njit


class Entries(NamedTuple):
    """The codes by atoms: atom j is used by signals ``signals[starts[j]:starts[j + 1]]``, increasing.

    Attributes:
        starts: int64 (n + 1,).
        signals: int32 (entries,).
        coefficients: (entries,), in the dtype of the codes.
    """

    starts: NDArray[np.int64]
    signals: NDArray[np.int32]
    coefficients: NDArray[np.floating]


@njit(cache=True)
def by_atom(indices, coefficients, n):
    """Codes (B, k), with atom -1 where there is none, as :class:`Entries`: a counting sort, O(B k + n)."""
    batch, k = indices.shape
    starts = np.zeros(n + 1, np.int64)
    for b in range(batch):
        for t in range(k):
            if indices[b, t] >= 0:
                starts[indices[b, t] + 1] += 1
    for j in range(n):
        starts[j + 1] += starts[j]
    place = starts[:-1].copy()
    signals = np.empty(starts[n], np.int32)
    sorted_coefficients = np.empty(starts[n], coefficients.dtype)
    for b in range(batch):
        for t in range(k):
            j = indices[b, t]
            if j >= 0:
                signals[place[j]] = b
                sorted_coefficients[place[j]] = coefficients[b, t]
                place[j] += 1
    return Entries(starts, signals, sorted_coefficients)


@njit(cache=True)
def subtract(rows, values, first, entries, residual):
    """R -= X W^T for the columns given, in place; O(d) an entry."""
    for j in range(rows.shape[0]):
        for q in range(entries.starts[first + j], entries.starts[first + j + 1]):
            b, x = entries.signals[q], entries.coefficients[q]
            for i in range(rows.shape[1]):
                residual[b, rows[j, i]] -= x * values[j, i]


@njit(cache=True)
def update(rows, values, first, entries, residual, curvature, kept):
    """One block-coordinate step on every column in turn, on the unit sphere of its support; all in place.

    With the codes x_j of this batch on atom j, and R as the columns before it have left it,

        a_j <- kept a_j + ||x_j||^2,    v <- v_j + (R^T x_j)_N(j) / a_j,    v_j <- v / ||v||,

    after which R is brought up to date. With kept = 0 the step v is the minimiser of ||H - X W^T||_F over column j
    alone; kept > 0 counts earlier batches as if they agreed with the column as it is, which is the diagonal of the
    second-order term of Mairal et al. 2010 with forgetting. A column that no signal uses, or whose step is zero, stays.

    Args:
        curvature: a, float64 (n,), of the whole dictionary.
        kept: what the past counts for, 0 to 1.
    """
    d = rows.shape[1]
    step = np.empty(d, values.dtype)
    for j in range(rows.shape[0]):
        begin, end = entries.starts[first + j], entries.starts[first + j + 1]
        curvature[first + j] *= kept
        step[:] = 0
        for q in range(begin, end):
            b, x = entries.signals[q], entries.coefficients[q]
            curvature[first + j] += np.float64(x) * x
            for i in range(d):
                step[i] += x * residual[b, rows[j, i]]
        if begin == end or curvature[first + j] == 0:
            continue
        for i in range(d):
            step[i] = values[j, i] + step[i] / curvature[first + j]
        if not to_unit_norm(step):
            continue
        for q in range(begin, end):
            b, x = entries.signals[q], entries.coefficients[q]
            for i in range(d):
                residual[b, rows[j, i]] -= x * (step[i] - values[j, i])
        values[j] = step


@njit(cache=True)
def to_unit_norm(column):
    """Divide a column by its l2 norm, in place; whether it has one (it is neither zero nor infinite)."""
    largest = np.float64(0)
    for i in range(column.size):
        largest = max(largest, abs(column[i]))
    if not (0 < largest < np.inf):
        return False
    total = np.float64(0)
    for i in range(column.size):
        total += (column[i] / largest) ** 2
    norm = largest * np.sqrt(total)
    for i in range(column.size):
        column[i] /= norm
    return True
