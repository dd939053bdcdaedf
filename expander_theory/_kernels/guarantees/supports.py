"""What one support's columns have to do with all other columns: sums of the exact recovery coefficient, shared rows.

Both cost O(d) a column and support, times k for the sums; rows of the transposed product are contiguous, so that the
inner loop over the support runs in vector registers.
"""

import numpy as np

from expander_theory.base import njit


@njit(cache=True, nogil=True)
def largest_l1(rows, values, products, supports, largest):
    """largest[b] = max over columns j outside support b of ||P_b^T w_j||_1, for P_b = ``products[b]``, (m, k)."""
    n, d = rows.shape
    k = products.shape[2]
    member, total = np.zeros(n, np.bool_), np.empty(k)
    for b in range(supports.shape[0]):
        member[:] = False
        for j in supports[b]:
            member[j] = True
        product, worst = products[b], 0.0
        for j in range(n):
            if member[j]:
                continue
            total[:] = 0.0
            for i in range(d):
                value, row = values[j, i], product[rows[j, i]]
                for t in range(k):
                    total[t] += value * row[t]
            moduli = 0.0
            for t in range(k):
                moduli += abs(total[t])
            worst = max(worst, moduli)
        largest[b] = worst


@njit(cache=True, nogil=True)
def uncoverable(rows, m, overlap, supports, proved):
    """proved[b]: no other columns, at most as many, can cover the rows that support b alone meets (THEORY.md IDN-5).

    ``overlap`` is the largest number of rows that two columns share.
    """
    n, d = rows.shape
    k = supports.shape[1]
    met, member = np.zeros(m, np.int32), np.zeros(n, np.bool_)
    own, shared = np.empty(k, np.int64), np.empty(d + 1, np.int64)
    for b in range(supports.shape[0]):
        # How often the support meets each row, and which rows of each of its columns no other one of them meets.
        met[:] = 0
        member[:] = False
        for j in supports[b]:
            member[j] = True
            for i in range(d):
                met[rows[j, i]] += 1
        for place in range(k):
            own[place] = 0
            for i in range(d):
                own[place] += met[rows[supports[b, place], i]] == 1
        own.sort()
        # How many of the other columns share so many rows with the support.
        shared[:] = 0
        for j in range(n):
            if not member[j]:
                count = 0
                for i in range(d):
                    count += met[rows[j, i]] > 0
                shared[count] += 1
        # t other columns that are to cover the rows of t or more columns of the support: what they have outside its
        # rows they must share with one another, so each shares d - overlap (t - 1) rows with it at least.
        proved[b] = own[0] > 0
        needed = 0
        for t in range(1, k + 1):
            needed += own[t - 1]
            covered, left = 0, t
            for count in range(d, max(0, d - overlap * (t - 1)) - 1, -1):
                taken = min(left, shared[count])
                covered += taken * count
                left -= taken
            if left == 0 and covered >= needed:
                proved[b] = False
                break
