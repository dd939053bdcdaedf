"""Searches for sets of columns with few neighbours.

The loss of a set S is d|S| - |N(S)|, its collisions (THEORY.md section 0). All loops keep
``multiplicity[i]`` = |{j in S: i in N(j)}| and ``hits[l]`` = |N(l) cap N(S)|, so that adding
column l raises the loss by exactly ``hits[l]``.
"""

import numpy as np
from numba import njit

FINISHED, OUT_OF_BUDGET = 0, 1


@njit(cache=True)
def _add(rows, start, columns, multiplicity, hits, j):
    for i in range(rows.shape[1]):
        row = rows[j, i]
        if multiplicity[row] == 0:
            for p in range(start[row], start[row + 1]):
                hits[columns[p]] += 1
        multiplicity[row] += 1


@njit(cache=True)
def _remove(rows, start, columns, multiplicity, hits, j):
    for i in range(rows.shape[1]):
        row = rows[j, i]
        multiplicity[row] -= 1
        if multiplicity[row] == 0:
            for p in range(start[row], start[row + 1]):
                hits[columns[p]] -= 1


@njit(cache=True)
def greedy_losses(rows, start, columns, m, roots, max_size):
    """From every root add the column that collides most (lowest index on ties).

    Returns:
        loss (max_size + 1,): the largest loss met at each size, and
        witness (max_size + 1, max_size): the set that has it.
    """
    n = rows.shape[0]
    multiplicity = np.zeros(m, np.int32)
    hits = np.zeros(n, np.int32)
    chosen = np.zeros(n, np.bool_)
    members = np.empty(max_size, np.int32)
    best = np.full(max_size + 1, -1, np.int64)
    witness = np.full((max_size + 1, max_size), -1, np.int32)
    for root in roots:
        loss, nearest = 0, root
        for size in range(1, max_size + 1):
            loss += hits[nearest]
            members[size - 1] = nearest
            chosen[nearest] = True
            _add(rows, start, columns, multiplicity, hits, nearest)
            if loss > best[size]:
                best[size] = loss
                witness[size, :size] = members[:size]
            if size < max_size:
                most = -1
                for l in range(n):
                    if hits[l] > most and not chosen[l]:
                        most, nearest = hits[l], l
        for j in members:
            chosen[j] = False
            _remove(rows, start, columns, multiplicity, hits, j)
    return best, witness


@njit(cache=True)
def _set_thresholds(target, size, thresholds):
    """thresholds[i] = least loss at size i of a set on the way to one of loss >= target at ``size``.

    Marginal losses in S sum to at most 2 loss(S) (a row met mu >= 2 times counts mu <= 2(mu - 1)
    times), so the least one is at most floor(2 loss / |S|).
    """
    thresholds[size] = target
    for i in range(size, 1, -1):
        thresholds[i - 1] = thresholds[i] - 2 * thresholds[i] // i


@njit(cache=True)
def _is_canonical(rows, multiplicity, members, depth, v):
    """Whether v (already counted in ``multiplicity``) has the least marginal loss in S + v, largest index on ties.

    Removing the canonical member gives each set exactly one parent, so each is made once.
    """
    d = rows.shape[1]
    own = 0
    for i in range(d):
        own += multiplicity[rows[v, i]] >= 2
    for t in range(depth):
        u = members[t]
        marginal = 0
        for i in range(d):
            marginal += multiplicity[rows[u, i]] >= 2
        if marginal < own or (marginal == own and u > v):
            return False
    return True


@njit(cache=True)
def reverse_search(
    rows, start, columns, multiplicity, hits, members, losses, cursor, position, best, witness, bound, budget
):
    """Depth-first search for the largest loss over all sets of ``members.size`` columns.

    Every array is state, so that a call stopped by ``budget`` (columns looked at) goes on where it was:
    ``position[0]`` is the depth, ``members[:depth]`` the set, ``losses[t]`` the loss of its first t
    members, ``cursor[t]`` the next column to try at depth t; ``best[0]`` is the largest loss known and
    ``witness`` a set that has it; ``bound`` is a loss that no set exceeds.
    """
    n, size = rows.shape[0], members.size
    thresholds = np.zeros(size + 1, np.int64)
    _set_thresholds(best[0] + 1, size, thresholds)
    looked = 0
    depth = position[0]
    while True:
        if best[0] >= bound:
            return FINISHED
        if looked >= budget:
            position[0] = depth
            return OUT_OF_BUDGET
        need = thresholds[depth + 1] - losses[depth]
        v = cursor[depth]
        descended = False
        looked += n - v
        while v < n:
            if hits[v] >= need:
                member = False
                for t in range(depth):
                    if members[t] == v:
                        member = True
                if not member:
                    loss = losses[depth] + hits[v]
                    if depth + 1 == size:
                        # Any set that is good enough may be taken, canonical or not.
                        best[0] = loss
                        witness[:depth] = members[:depth]
                        witness[depth] = v
                        _set_thresholds(loss + 1, size, thresholds)
                        need = thresholds[depth + 1] - losses[depth]
                    else:
                        for i in range(rows.shape[1]):
                            multiplicity[rows[v, i]] += 1
                        canonical = _is_canonical(rows, multiplicity, members, depth, v)
                        for i in range(rows.shape[1]):
                            multiplicity[rows[v, i]] -= 1
                        if canonical:
                            _add(rows, start, columns, multiplicity, hits, v)
                            members[depth] = v
                            cursor[depth] = v + 1
                            depth += 1
                            losses[depth] = loss
                            cursor[depth] = 0
                            descended = True
                            break
            v += 1
        if not descended:
            if depth == 0:
                return FINISHED
            depth -= 1
            _remove(rows, start, columns, multiplicity, hits, members[depth])
            # A better set may have been found below: the parent may no longer qualify.
            if losses[depth] < thresholds[depth]:
                cursor[depth] = n
