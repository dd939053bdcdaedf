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
def _set_thresholds(target, size, d, thresholds):
    """thresholds[i] = least loss at size i of a set on the way to one of loss >= target at ``size``.

    Marginal losses in S sum to at most 2 loss(S) (a row met mu >= 2 times counts mu <= 2(mu - 1)
    times), so the least one is at most floor(2 loss / |S|), and at most d.
    """
    thresholds[size] = target
    for i in range(size, 1, -1):
        thresholds[i - 1] = thresholds[i] - min(d, 2 * thresholds[i] // i)


@njit(cache=True)
def _is_canonical(rows, multiplicity, members, depth, v):
    """Whether v has the least marginal loss in S + v, largest index on ties (``multiplicity`` counts S alone).

    Removing the canonical member gives each set exactly one parent, so each is made once.
    """
    d = rows.shape[1]
    own = 0
    for i in range(d):
        own += multiplicity[rows[v, i]] >= 1
        multiplicity[rows[v, i]] += 1
    canonical = True
    for t in range(depth - 1, -1, -1):
        u = members[t]
        marginal = 0
        for i in range(d):
            marginal += multiplicity[rows[u, i]] >= 2
        if marginal < own or (marginal == own and u > v):
            canonical = False
            break
    for i in range(d):
        multiplicity[rows[v, i]] -= 1
    return canonical


@njit(cache=True)
def _add_and_queue(rows, start, columns, multiplicity, hits, queued, v, need, queue):
    """Add v, and queue the columns that may come next: those with hits >= ``need``, each once.

    The next column has the least marginal loss of all, at most that of v: the loss that v has now and one for
    each row that only v met. So if ``need`` is above the former, it meets such a row.

    Returns:
        number of columns queued, and of columns looked at.
    """
    n = rows.shape[0]
    near = need > hits[v]
    count = looked = 0
    for i in range(rows.shape[1]):
        row = rows[v, i]
        if multiplicity[row] == 0:
            looked += start[row + 1] - start[row]
            for p in range(start[row], start[row + 1]):
                l = columns[p]
                hits[l] += 1
                if near and hits[l] >= need and not queued[l]:
                    queued[l] = True
                    queue[count] = l
                    count += 1
        multiplicity[row] += 1
    for q in range(count):
        queued[queue[q]] = False
    if not near:
        looked += n
        for l in range(n):
            if hits[l] >= need:
                queue[count] = l
                count += 1
    return count, looked


@njit(cache=True)
def _complete(rows, start, columns, multiplicity, hits, members, loss, best, witness):
    """Try every column as the last one beside ``members[:size - 1]``, of loss ``loss``; hits count the first size - 2.

    Any set that is good enough may be taken, canonical or not, so that nothing need be queued.

    Returns:
        number of columns looked at.
    """
    n, size = rows.shape[0], members.size
    v = members[size - 2]
    everywhere = best[0] + 1 - loss <= hits[v]  # see _add_and_queue
    looked = 0
    for i in range(rows.shape[1]):
        row = rows[v, i]
        if multiplicity[row] == 0:
            looked += start[row + 1] - start[row]
            for p in range(start[row], start[row + 1]):
                l = columns[p]
                hits[l] += 1
                if loss + hits[l] > best[0]:
                    _take(hits, members, loss, l, best, witness)
    if everywhere:
        looked += n
        for l in range(n):
            if loss + hits[l] > best[0]:
                _take(hits, members, loss, l, best, witness)
    for i in range(rows.shape[1]):
        row = rows[v, i]
        if multiplicity[row] == 0:
            for p in range(start[row], start[row + 1]):
                hits[columns[p]] -= 1
    return looked


@njit(cache=True)
def _take(hits, members, loss, l, best, witness):
    """members[:size - 1] + l is the best set so far, unless l is one of them."""
    last = members.size - 1
    for t in range(last):
        if members[t] == l:
            return
    best[0] = loss + hits[l]
    witness[:last] = members[:last]
    witness[last] = l


@njit(cache=True)
def reverse_search(
    rows, start, columns, multiplicity, hits, queued, members, path, queue, position, best, witness, bound, budget
):
    """Depth-first search for the largest loss over all sets of ``members.size`` >= 2 columns.

    Every array is state, so that a call stopped by ``budget`` (columns looked at) goes on where it was:
    ``position[0]`` is the depth, ``members[:depth]`` the set; ``path[:, t]`` is the loss of its first t members, the
    next place to look at in ``queue[t]`` (columns to try at depth t) and the number of places there; ``best[0]``
    is the largest loss known and ``witness`` a set that has it; ``bound`` is a loss that no set exceeds, or one that
    is good enough. To start, ``queue[0]`` holds the columns and ``path[2, 0]`` their number.
    """
    d, size = rows.shape[1], members.size
    losses, cursor, length = path[0], path[1], path[2]
    thresholds = np.zeros(size + 1, np.int64)
    _set_thresholds(best[0] + 1, size, d, thresholds)
    looked = 0
    depth = position[0]
    while best[0] < bound:
        if looked >= budget:
            position[0] = depth
            return OUT_OF_BUDGET
        # Once a better set has been found, the one at hand may no longer lead to one that is better still.
        if cursor[depth] == length[depth] or losses[depth] < thresholds[depth]:
            if depth == 0:
                break
            depth -= 1
            _remove(rows, start, columns, multiplicity, hits, members[depth])
            continue
        v = queue[depth, cursor[depth]]
        cursor[depth] += 1
        looked += 1
        loss = losses[depth] + hits[v]
        member = False
        for t in range(depth):
            member |= members[t] == v
        if member or loss < thresholds[depth + 1] or not _is_canonical(rows, multiplicity, members, depth, v):
            continue
        members[depth] = v
        if depth + 2 == size:
            known = best[0]
            looked += _complete(rows, start, columns, multiplicity, hits, members, loss, best, witness)
            if best[0] > known:
                _set_thresholds(best[0] + 1, size, d, thresholds)
        else:
            depth += 1
            need = thresholds[depth + 1] - loss
            length[depth], seen = _add_and_queue(
                rows, start, columns, multiplicity, hits, queued, v, need, queue[depth]
            )
            looked += seen
            losses[depth], cursor[depth] = loss, 0
    return FINISHED
