"""Loops over pairs of columns that share a row, by way of the row lists.

One column costs the sum of its rows' degrees, about n d^2 / m. For :class:`Graph` and :class:`Entries` see
:mod:`expander_theory._kernels.expansion.graph`.
"""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def overlap_histograms(graph):
    """histogram[j, o] = number of columns l != j with |N(j) cap N(l)| = o, for o >= 1 (o = 0 left at zero)."""
    rows, start, columns = graph
    n, d = rows.shape
    histogram = np.zeros((n, d + 1), np.int32)
    overlap = np.zeros(n, np.int32)
    touched = np.empty(n, np.int32)
    for j in range(n):
        # Every column on the lists of j's rows shares as many rows with j as lists it is on.
        count = 0
        for i in range(d):
            for p in range(start[rows[j, i]], start[rows[j, i] + 1]):
                l = columns[p]
                if overlap[l] == 0:
                    touched[count] = l
                    count += 1
                overlap[l] += 1
        # Count them, and clear only what was touched.
        for t in range(count):
            l = touched[t]
            if l != j:
                histogram[j, overlap[l]] += 1
            overlap[l] = 0
    return histogram


@njit(cache=True)
def largest_gram_sums(entries, size):
    """Babel function and the largest |<w_j, w_l>|, l != j.

    Returns:
        sums (size,): sums[k - 1] = max_j of the sum of the k largest |<w_j, w_l>| over l != j.
    """
    rows, values, start, columns, entry = entries
    n, d = rows.shape
    sums = np.zeros(size, np.float64)
    product = np.zeros(n, np.float64)
    seen = np.zeros(n, np.bool_)
    touched = np.empty(n, np.int32)
    moduli = np.empty(n, np.float64)
    for j in range(n):
        # Row j of the Gram matrix, only where it can be nonzero.
        count = 0
        for i in range(d):
            w = values[j, i]
            for p in range(start[rows[j, i]], start[rows[j, i] + 1]):
                l = columns[p]
                if not seen[l]:
                    seen[l] = True
                    touched[count] = l
                    count += 1
                product[l] += w * entry[p]
        # Its moduli without the diagonal; only what was touched is cleared.
        kept = 0
        for t in range(count):
            l = touched[t]
            if l != j:
                moduli[kept] = abs(product[l])
                kept += 1
            product[l] = 0.0
            seen[l] = False
        # Sums of the largest, each kept if no column has a larger one.
        ordered = np.sort(moduli[:kept])
        total = 0.0
        for k in range(size):
            if k < kept:
                total += ordered[kept - 1 - k]
            if total > sums[k]:
                sums[k] = total
    return sums


@njit(cache=True)
def dense_gram_sums(moduli, first, sums):
    """Fold a block of rows |G[first:first + b]| into ``sums`` as in :func:`largest_gram_sums`."""
    for b in range(moduli.shape[0]):
        moduli[b, first + b] = 0.0
        ordered = np.sort(moduli[b])
        total = 0.0
        for k in range(sums.size):
            total += ordered[ordered.size - 1 - k]
            if total > sums[k]:
                sums[k] = total
