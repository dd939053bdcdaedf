"""Exact recovery coefficients and dynamic-range thresholds: loops over columns and over pairs of columns.

The first costs n d k for a support of k. A row of the Gram matrix costs about n d^2 / m by way of the row lists; the
threshold needs one for every pair that its bounds leave. For :class:`Entries` see
:mod:`expander_theory._kernels.expansion.graph`.
"""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def largest_l1(rows, values, inverse, member):
    """max over columns j outside the support of ||P w_j||_1, for P = ``inverse`` transposed, shape (m, k)."""
    n, d = rows.shape
    k = inverse.shape[1]
    product = np.empty(k)
    worst = 0.0
    for j in range(n):
        if member[j]:
            continue
        # P w_j: the column has d entries, so it is a combination of d rows of the transposed P.
        product[:] = 0.0
        for t in range(d):
            v = values[j, t]
            row = inverse[rows[j, t]]
            for i in range(k):
                product[i] += v * row[i]
        total = 0.0
        for i in range(k):
            total += abs(product[i])
        worst = max(worst, total)
    return worst


@njit(cache=True)
def _gram_row(entries, j, product, seen, touched):
    """Nonzero entries of row j of the Gram matrix into ``product``; returns their count, columns in ``touched``."""
    rows, values, start, columns, entry = entries
    count = 0
    for t in range(rows.shape[1]):
        w = values[j, t]
        for p in range(start[rows[j, t]], start[rows[j, t] + 1]):
            l = columns[p]
            if not seen[l]:
                seen[l] = True
                touched[count] = l
                count += 1
                product[l] = 0.0
            product[l] += w * entry[p]
    for t in range(count):
        seen[touched[t]] = False
    return count


@njit(cache=True)
def _insert(top, value):
    """Keep the largest values in ``top``, decreasing."""
    if value <= top[-1]:
        return
    place = top.size - 1
    while place > 0 and value > top[place - 1]:
        top[place] = top[place - 1]
        place -= 1
    top[place] = value


@njit(cache=True)
def gram_row_sums(entries, size):
    """Sum of the ``size`` largest |G_jl|, l != j, and the largest of them, for every column j."""
    n = entries.rows.shape[0]
    product, seen, touched = np.zeros(n), np.zeros(n, np.bool_), np.empty(n, np.int32)
    top = np.empty(size)
    sums, largest = np.empty(n), np.empty(n)
    for j in range(n):
        count = _gram_row(entries, j, product, seen, touched)
        top[:] = 0.0
        for t in range(count):
            if touched[t] != j:
                _insert(top, abs(product[touched[t]]))
        sums[j] = top.sum()
        largest[j] = top[0]
    return sums, largest


@njit(cache=True)
def least_range(entries, order, sums, mu, size, first, last, best):
    """min over pairs of (1 - tau G_ij) / (sum of the ``size`` largest |G_il - tau G_jl|), the first column of the
    pair at places ``first`` to ``last`` - 1 of ``order`` (columns by decreasing ``sums``), the second further on.

    A pair whose bound (1 - |G_ij|)/(sums_i + sums_j) reaches the best value so far is not looked at.

    Returns:
        the least ratio met (or ``best``), and whether no pair further on can be smaller.
    """
    n = entries.rows.shape[0]
    gi, gj = np.zeros(n), np.zeros(n)
    seen, others = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    near, far = np.empty(n, np.int32), np.empty(n, np.int32)
    plus, minus = np.empty(size), np.empty(size)
    for a in range(first, last):
        # With |G_ij| <= mu this bounds all pairs from here on: later columns have smaller sums.
        i = order[a]
        if (1 - mu) >= best * 2 * sums[i]:
            return best, True
        # Row i of the Gram matrix, once for all its partners.
        count = _gram_row(entries, i, gi, seen, near)
        for t in range(count):
            others[near[t]] = True
        for b in range(a + 1, n):
            # The same bound for this pair and all further ones of i; then the pair's own, with its true G_ij.
            j = order[b]
            if (1 - mu) >= best * (sums[i] + sums[j]):
                break
            g = gi[j] if others[j] else 0.0
            if (1 - abs(g)) >= best * (sums[i] + sums[j]):
                continue
            # The largest |G_il - G_jl| and |G_il + G_jl|, first over the columns l that row j reaches ...
            reach = _gram_row(entries, j, gj, seen, far)
            plus[:] = 0.0
            minus[:] = 0.0
            for t in range(reach):
                l = far[t]
                if l != i and l != j:
                    other = gi[l] if others[l] else 0.0
                    _insert(plus, abs(other - gj[l]))
                    _insert(minus, abs(other + gj[l]))
                seen[l] = True
            # ... then over those that only row i reaches; for all others both are 0.
            for t in range(count):
                l = near[t]
                if not seen[l] and l != i and l != j:
                    _insert(plus, abs(gi[l]))
                    _insert(minus, abs(gi[l]))
            for t in range(reach):
                seen[far[t]] = False
            # The ratio for both signs tau.
            for tau in (1.0, -1.0):
                total = plus.sum() if tau > 0 else minus.sum()
                if total > 0 and (1 - tau * g) < best * total:
                    best = (1 - tau * g) / total
        for t in range(count):
            others[near[t]] = False
    return best, last >= n
