"""Loops behind certificates: sums of the largest |<w_j, w_l>|, triangles, and the size of a search.

``start``, ``columns`` are the row lists of the mask: row i is met by
``columns[start[i]:start[i + 1]]``.
"""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def _column_sums(rows, values, start, columns, entry, j, product, magnitude, touched, sums):
    """sums[k - 1] = sum of the k largest |<w_j, w_l>|, l != j.

    Returns:
        the largest sum of |w_ij w_il| over l: roundoff is relative to it. ``product`` and ``magnitude`` (both zero on
        entry and exit) have one place a column; ``entry[p]`` is the value of ``columns[p]`` at the row that lists it.
    """
    count = 0
    for i in range(rows.shape[1]):
        w = values[j, i]
        for p in range(start[rows[j, i]], start[rows[j, i] + 1]):
            l = columns[p]
            if magnitude[l] == 0.0:
                touched[count] = l
                count += 1
                magnitude[l] = 1e-300  # "seen", also where the product underflows
            product[l] += w * entry[p]
            magnitude[l] += abs(w * entry[p])
    sums[:] = 0.0
    last = sums.size - 1
    largest = 0.0
    for t in range(count):
        l = touched[t]
        modulus = abs(product[l])
        if l != j:
            largest = max(largest, magnitude[l])
            if modulus > sums[last]:  # insert it into the decreasing list
                k = last
                while k > 0 and sums[k - 1] < modulus:
                    sums[k] = sums[k - 1]
                    k -= 1
                sums[k] = modulus
        product[l] = 0.0
        magnitude[l] = 0.0
    for k in range(1, sums.size):
        sums[k] += sums[k - 1]
    return largest


@njit(cache=True)
def fold_largest_sums(rows, values, start, columns, entry, begin, end, roundoff, best, first, proved):
    """Columns begin..end-1 of the search for max_j of the sums of :func:`_column_sums`.

    ``best[k - 1]`` and ``first[k - 1]`` are the largest sum of k moduli and the first column that has it, both as
    floats have it; ``proved[k - 1]`` is a lower bound of the exact maximum if a sum of k moduli is wrong by at most
    ``k * roundoff`` times the largest magnitude.
    """
    n = rows.shape[0]
    product, magnitude, touched = np.zeros(n), np.zeros(n), np.empty(n, np.int32)
    sums = np.empty(best.size)
    for j in range(begin, end):
        largest = _column_sums(rows, values, start, columns, entry, j, product, magnitude, touched, sums)
        for k in range(best.size):
            if sums[k] > best[k]:
                best[k], first[k] = sums[k], j
            proved[k] = max(proved[k], sums[k] - (k + 1) * roundoff * largest - 1e-290)


@njit(cache=True)
def mark_contenders(rows, values, start, columns, entry, begin, end, roundoff, proved, contender):
    """contender[j] = whether column j may attain one of the maxima, given what :func:`fold_largest_sums` proved."""
    n = rows.shape[0]
    product, magnitude, touched = np.zeros(n), np.zeros(n), np.empty(n, np.int32)
    sums = np.empty(proved.size)
    for j in range(begin, end):
        largest = _column_sums(rows, values, start, columns, entry, j, product, magnitude, touched, sums)
        for k in range(proved.size):
            if sums[k] + (k + 1) * roundoff * largest + 1e-290 >= proved[k]:
                contender[j] = True


@njit(cache=True)
def has_triangle(rows, start, columns, m):
    """Whether three columns meet pairwise in three different rows, where no two columns share two rows.

    Two columns that meet column j in the same row have no further row in common then; where two of those
    that meet column j do share a row off column j, that is a triangle.
    """
    reached = np.full(m, -1, np.int32)  # the last j whose partners were seen to meet this row
    d = rows.shape[1]
    for j in range(rows.shape[0]):
        for i in range(d):
            row = rows[j, i]
            for p in range(start[row], start[row + 1]):
                l = columns[p]
                if l == j:
                    continue
                for q in range(d):
                    other = rows[l, q]
                    if other == row:
                        continue
                    if reached[other] == j:
                        return True
                    reached[other] = j
    return False


@njit(cache=True)
def grow_sets(rows, start, columns, multiplicity, sets, losses, here, after, points, grown, grown_losses):
    """All sets of one column more whose loss is at least ``after``, from a sample of the sets with loss >= ``here``.

    A grown set that can be reached from p sets with loss >= ``here`` has weight 1 / p, so that the sum of weights
    over *all* sets is the number of grown ones. ``points`` (increasing) are places in the running sum of weights:
    the set at point c is stored as ``grown[c]``. ``multiplicity`` (m,) is zero on entry and exit.

    Returns:
        the sum of the weights.
    """
    n, d = rows.shape
    size = sets.shape[1]
    hits = np.zeros(n, np.int32)
    total, stored = 0.0, 0
    for s in range(sets.shape[0]):
        members = sets[s]
        for u in members:
            for i in range(d):
                row = rows[u, i]
                if multiplicity[row] == 0:
                    for p in range(start[row], start[row + 1]):
                        hits[columns[p]] += 1
                multiplicity[row] += 1
        for v in range(n):
            if losses[s] + hits[v] < after or (members == v).any():
                continue
            loss = losses[s] + hits[v]
            for i in range(d):
                multiplicity[rows[v, i]] += 1
            parents = 1  # v itself can be taken away
            for u in members:
                marginal = 0
                for i in range(d):
                    marginal += multiplicity[rows[u, i]] >= 2
                parents += loss - marginal >= here
            for i in range(d):
                multiplicity[rows[v, i]] -= 1
            total += 1.0 / parents
            while stored < points.size and points[stored] < total:
                grown[stored, :size] = members
                grown[stored, size] = v
                grown_losses[stored] = loss
                stored += 1
        for u in members:
            for i in range(d):
                row = rows[u, i]
                multiplicity[row] -= 1
                if multiplicity[row] == 0:
                    for p in range(start[row], start[row + 1]):
                        hits[columns[p]] -= 1
    return total
