"""Loops behind certificates: sums of the largest |<w_j, w_l>|, triangles, and the size of a search.

By way of the row lists a column costs about n d^2 / m for inner products, and d times that for triangles; growing a set
costs O(n d) beside its counts. For :class:`Graph` and :class:`Entries` see
:mod:`expander_theory._kernels.expansion.graph`.
"""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def _column_sums(entries, j, product, magnitude, touched, sums):
    """sums[k - 1] = sum of the k largest |<w_j, w_l>|, l != j.

    Returns:
        the largest sum of |w_ij w_il| over l: roundoff is relative to it. ``product`` and ``magnitude`` (both zero on
        entry and exit) have one place a column.
    """
    rows, values, start, columns, entry = entries
    # Row j of the Gram matrix with the moduli that went into each entry, only where it can be nonzero.
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
    # The largest moduli, decreasing; only what was touched is cleared.
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
    # Their running sums.
    for k in range(1, sums.size):
        sums[k] += sums[k - 1]
    return largest


@njit(cache=True)
def fold_largest_sums(entries, begin, end, roundoff, best, first, proved):
    """Columns begin..end-1 of the search for max_j of the sums of :func:`_column_sums`.

    ``best[k - 1]`` and ``first[k - 1]`` are the largest sum of k moduli and the first column that has it, both as
    floats have it; ``proved[k - 1]`` is a lower bound of the exact maximum if a sum of k moduli is wrong by at most
    ``k * roundoff`` times the largest magnitude.
    """
    n = entries.rows.shape[0]
    product, magnitude, touched = np.zeros(n), np.zeros(n), np.empty(n, np.int32)
    sums = np.empty(best.size)
    for j in range(begin, end):
        largest = _column_sums(entries, j, product, magnitude, touched, sums)
        for k in range(best.size):
            if sums[k] > best[k]:
                best[k], first[k] = sums[k], j
            # What the sum is at least in exact arithmetic; the last term covers products that underflow.
            proved[k] = max(proved[k], sums[k] - (k + 1) * roundoff * largest - 1e-290)


@njit(cache=True)
def mark_contenders(entries, begin, end, roundoff, proved, contender):
    """contender[j] = whether column j may attain one of the maxima, given what :func:`fold_largest_sums` proved."""
    n = entries.rows.shape[0]
    product, magnitude, touched = np.zeros(n), np.zeros(n), np.empty(n, np.int32)
    sums = np.empty(proved.size)
    for j in range(begin, end):
        largest = _column_sums(entries, j, product, magnitude, touched, sums)
        for k in range(proved.size):
            # What the sum is at most reaches what some column's is at least.
            if sums[k] + (k + 1) * roundoff * largest + 1e-290 >= proved[k]:
                contender[j] = True


@njit(cache=True)
def has_triangle(graph, m):
    """Whether three columns meet pairwise in three different rows, where no two columns share two rows.

    Two columns that meet column j in the same row have no further row in common then; where two of those
    that meet column j do share a row off column j, that is a triangle.
    """
    rows, start, columns = graph
    reached = np.full(m, -1, np.int32)  # the last j whose partners were seen to meet this row
    d = rows.shape[1]
    for j in range(rows.shape[0]):
        for i in range(d):
            row = rows[j, i]
            for p in range(start[row], start[row + 1]):
                l = columns[p]
                if l == j:
                    continue
                # Mark the rows of a partner off j; one that is marked already closes the triangle.
                for q in range(d):
                    other = rows[l, q]
                    if other == row:
                        continue
                    if reached[other] == j:
                        return True
                    reached[other] = j
    return False


@njit(cache=True)
def grow_sets(graph, multiplicity, sets, losses, here, after, points, grown, grown_losses):
    """All sets of one column more whose loss is at least ``after``, from a sample of the sets with loss >= ``here``.

    A grown set that can be reached from p sets with loss >= ``here`` has weight 1 / p, so that the sum of weights
    over *all* sets is the number of grown ones. ``points`` (increasing) are places in the running sum of weights:
    the set at point c is stored as ``grown[c]``. ``multiplicity`` (m,) is zero on entry and exit.

    Returns:
        the sum of the weights.
    """
    rows, start, columns = graph
    n, d = rows.shape
    size = sets.shape[1]
    hits = np.zeros(n, np.int32)
    total, stored = 0.0, 0
    for s in range(sets.shape[0]):
        members = sets[s]
        # Count the set in: hits[v] is then what column v would add to its loss.
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
            # In how many ways can the grown set be reached? Take each member away: its parent must lose enough.
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
            # Systematic sampling: one set for each point that the running sum of weights passes.
            total += 1.0 / parents
            while stored < points.size and points[stored] < total:
                grown[stored, :size] = members
                grown[stored, size] = v
                grown_losses[stored] = loss
                stored += 1
        # Count it out again.
        for u in members:
            for i in range(d):
                row = rows[u, i]
                multiplicity[row] -= 1
                if multiplicity[row] == 0:
                    for p in range(start[row], start[row + 1]):
                        hits[columns[p]] -= 1
    return total
