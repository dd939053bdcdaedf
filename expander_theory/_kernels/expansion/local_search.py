"""Sets of columns with few neighbours, found by greedy growth and by tabu search.

Both keep the counts of :mod:`expander_theory._kernels.expansion.counts`: a column that is added or swapped costs a scan
of n hits and O(n d^2 / m) for the counts.
"""

import numpy as np

from expander_theory._kernels.expansion.counts import add, marginal_loss, remove
from expander_theory.base import njit


@njit(cache=True)
def greedy_losses(graph, m, roots, max_size):
    """From every root add the column that collides most (lowest index on ties).

    Returns:
        loss (max_size + 1,): the largest loss met at each size, and
        witness (max_size + 1, max_size): the set that has it.
    """
    rows, start, columns = graph
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
            # Add the column found last, and keep the set if none of its size has lost more.
            loss += hits[nearest]
            members[size - 1] = nearest
            chosen[nearest] = True
            add(rows, start, columns, multiplicity, hits, nearest)
            if loss > best[size]:
                best[size] = loss
                witness[size, :size] = members[:size]
            # The next one collides most with the set.
            if size < max_size:
                most = -1
                for l in range(n):
                    if hits[l] > most and not chosen[l]:
                        most, nearest = hits[l], l
        # Take all away again: the counts are clean for the next root, at no more than what adding them has cost.
        for j in members:
            chosen[j] = False
            remove(rows, start, columns, multiplicity, hits, j)
    return best, witness


@njit(cache=True)
def swap_search(rng, graph, m, members, steps, tenure, witness):
    """Tabu search from the set ``members``: swap the column of least marginal loss for the one that collides most.

    Ties go to the first after a random place; neither column moves back within ``tenure`` swaps. ``witness`` receives
    the best set met.

    Returns:
        its loss.
    """
    rows, start, columns = graph
    n, size = rows.shape[0], members.size
    multiplicity, hits = np.zeros(m, np.int32), np.zeros(n, np.int32)
    closed = np.zeros(n, np.int64)  # the column may not move before that swap
    inside = np.zeros(n, np.bool_)
    # The loss of the start, column by column.
    loss = 0
    for v in members:
        loss += hits[v]
        inside[v] = True
        add(rows, start, columns, multiplicity, hits, v)
    best = loss
    witness[:] = members
    for step in range(steps):
        # Out: the member of least marginal loss that may move; if none may, a step passes.
        first, place, least = rng.integers(0, size), -1, 0
        for t in range(size):
            u = first + t if first + t < size else first + t - size
            if closed[members[u]] <= step:
                marginal = marginal_loss(rows, multiplicity, members[u])
                if place < 0 or marginal < least:
                    place, least = u, marginal
        if place < 0:
            continue
        old = members[place]
        remove(rows, start, columns, multiplicity, hits, old)
        # In: of the columns outside that may move, the one with most hits on what is left; if none may, the same one.
        first, new, most = rng.integers(0, n), -1, -1
        for half in range(2):
            for l in range(first if half == 0 else 0, n if half == 0 else first):
                if hits[l] > most and not inside[l] and closed[l] <= step:
                    new, most = l, hits[l]
        inside[old] = False
        if new < 0:
            new, most = old, hits[old]
        # Neither moves back for a while, so that the search climbs out of a local maximum.
        inside[new] = True
        closed[old] = closed[new] = step + 1 + tenure
        members[place] = new
        add(rows, start, columns, multiplicity, hits, new)
        loss += most - least
        if loss > best:
            best = loss
            witness[:] = members
    return best
