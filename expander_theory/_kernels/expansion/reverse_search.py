"""Exhaustive search for the set of a given size with the fewest neighbours, by reverse search.

Each set is made once, from the set without its canonical member; sets whose loss is too small to lead to a better one
than the best known are not made. Work: the columns looked at, each O(d |S|) at most; how many there are depends on the
mask, and is estimated by :func:`expander_theory._kernels.expansion.certificates.grow_sets`. The counts kept are those
of :mod:`expander_theory._kernels.expansion.counts`.

The functions inside take single arrays, long as their lists are: with the mask and its counts in one tuple the search
was up to 1.14 times as slow (the measurements spread from no difference to that), since numba counts references,
atomically, whenever a tuple of arrays is opened, and these functions do little more than that for one column.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.expansion.counts import marginal_loss, remove, tally
from expander_theory.base import njit

FINISHED, OUT_OF_BUDGET = 0, 1


class Search(NamedTuple):
    """State of a search, so that one stopped by its budget goes on where it was.

    ``members[:position[0]]`` is the set at hand, with its ``multiplicity`` (m,) and ``hits`` (n,). ``path[:, t]`` is
    the loss of its first t members, the next place to look at in ``queue[t]`` (columns to try at depth t), and the
    number of places there. ``best[0]`` is the largest loss known and ``witness`` a set that has it; ``queued`` (n,) is
    scratch.
    """

    multiplicity: Any
    hits: Any
    queued: Any
    members: Any
    path: Any
    queue: Any
    position: Any
    best: Any
    witness: Any


def new_search(m: int, n: int, size: int, loss: int, witness: Any) -> Search:
    """A search of all sets of ``size`` >= 2 out of n columns for one that loses more than ``witness``, whose ``loss``
    is known."""
    path, queue = np.zeros((3, size), np.int64), np.zeros((size, n), np.int32)
    path[2, 0], queue[0] = n, np.arange(n)
    counts = np.zeros(m, np.int32), np.zeros(n, np.int32), np.zeros(n, np.bool_)
    members, position = np.zeros(size, np.int32), np.zeros(1, np.int64)
    return Search(*counts, members, path, queue, position, np.array([loss], np.int64), witness)


@njit(cache=True)
def reverse_search(graph, search, bound, budget):
    """Depth-first search for the largest loss over all sets of ``members.size`` columns.

    It stops where ``budget`` columns have been looked at, to be called again; ``bound`` is a loss that no set exceeds,
    or one that is good enough.
    """
    rows, start, columns = graph
    multiplicity, hits, queued, members, path, queue, position, best, witness = search
    d, size = rows.shape[1], members.size
    losses, cursor, length = path[0], path[1], path[2]
    thresholds = np.zeros(size + 1, np.int64)
    _set_thresholds(best[0] + 1, size, d, thresholds)
    patience = columns.size // (2 * multiplicity.size)  # looking at more columns costs more than going on
    spare, place = np.empty(rows.shape[0], np.int32), np.empty(d + 2, np.int64)
    looked = 0
    depth = position[0]
    while best[0] < bound:
        # The clock is looked at between two calls.
        if looked >= budget:
            position[0] = depth
            return OUT_OF_BUDGET
        # Go back where all columns have been tried. Once a better set has been found, the one at hand may no longer
        # lead to one that is better still either.
        if cursor[depth] == length[depth] or losses[depth] < thresholds[depth]:
            if depth == 0:
                break
            depth -= 1
            remove(rows, start, columns, multiplicity, hits, members[depth])
            continue
        # Try the next column: the set must lose enough to lead to a better one ...
        v = queue[depth, cursor[depth]]
        cursor[depth] += 1
        looked += 1
        loss = losses[depth] + hits[v]
        if loss < thresholds[depth + 1] or _contains(members, depth, v):
            continue
        # ... be made from its one parent, and have a child that may be canonical.
        members[depth] = v
        need = thresholds[depth + 2] - loss
        tally(rows, multiplicity, v, 1)
        goes_on = _is_canonical(rows, multiplicity, members, depth, v)
        if goes_on and depth > 0:
            before, last_loss = thresholds[depth + 1] - losses[depth], losses[depth] - losses[depth - 1]
            goes_on = not _is_dead_end(
                rows, start, columns, multiplicity, hits, members, depth, need, queue[depth], length[depth],
                before, last_loss, patience,
            )  # fmt: skip
        tally(rows, multiplicity, v, -1)
        if not goes_on:
            continue
        # One column short of the size: try all last columns at once. Otherwise go down.
        if depth + 2 == size:
            known = best[0]
            looked += _complete(
                rows, start, columns, multiplicity, hits, queued, members, loss, best, witness, queue[depth + 1]
            )
            if best[0] > known:
                _set_thresholds(best[0] + 1, size, d, thresholds)
        else:
            depth += 1
            length[depth], seen = _add_and_queue(
                rows, start, columns, multiplicity, hits, queued, members, depth, need, queue[depth]
            )
            looked += seen
            _sort_by_hits(hits, queue[depth], length[depth], spare, place)
            losses[depth], cursor[depth] = loss, 0
    return FINISHED


@njit(cache=True)
def _set_thresholds(target, size, d, thresholds):
    """thresholds[i] = least loss at size i of a set on the way to one of loss >= target at ``size``.

    Marginal losses in S sum to at most 2 loss(S) (a row met mu >= 2 times counts mu <= 2(mu - 1)
    times), so the least one is at most floor(2 loss / |S|), and at most d.
    """
    # From the size downwards: taking the best member away loses no more than the mean, nor than d.
    thresholds[size] = target
    for i in range(size, 1, -1):
        thresholds[i - 1] = thresholds[i] - min(d, 2 * thresholds[i] // i)


@njit(cache=True)
def _is_canonical(rows, multiplicity, members, depth, v):
    """Whether v has the least marginal loss in S + v, largest index on ties (``multiplicity`` counts v as well).

    Removing the canonical member gives each set exactly one parent, so each is made once.
    """
    # The last members first: they lose least, and refute most often.
    own = marginal_loss(rows, multiplicity, v)
    for t in range(depth - 1, -1, -1):
        marginal = marginal_loss(rows, multiplicity, members[t])
        if marginal < own or (marginal == own and members[t] > v):
            return False
    return True


@njit(cache=True)
def _is_dead_end(
    rows, start, columns, multiplicity, hits, members, depth, need, queue, length, before, last_loss, patience
):
    """Whether no column of loss >= ``need`` can be the canonical one after S + v (both counted in ``multiplicity``).

    Its marginal loss is at most those of all u in S + v, so for each u it meets need - marginal(u) rows that only u met
    before, different ones for different u: ``met`` or more of S, and some of v if met > 0 (v has the least marginal
    loss). If met is ``before`` or more, what S (whose last column loses ``last_loss``) asked of the columns in its
    ``queue``, it is one of them. They stand by decreasing ``hits`` on S. False is always a right answer: it is given
    where more than about ``patience`` columns would have to be tried.
    """
    # How many rows of S the next column must meet at least.
    v, met, of_last = members[depth], 0, 0
    for t in range(depth):
        of_last = max(0, need - marginal_loss(rows, multiplicity, members[t]))
        met += of_last
    # Enough that it stood in the queue of S already: try that, up to the first with too few hits.
    if met >= before and (of_last > 0 or before <= last_loss) and (length <= patience or hits[queue[patience]] < met):
        for q in range(length):
            if hits[queue[q]] < met:
                break
            if _may_follow(rows, multiplicity, members, depth, need, queue[q]):
                return False
        return True
    touched = depth * rows.shape[1] ** 2 / multiplicity.size  # share of the columns with hits, about
    if met == 0 or touched**met > 0.1:
        return False
    # Otherwise it meets a row that only v met before: try the columns of these rows, unless they are too many.
    tried = 0
    for i in range(rows.shape[1]):
        row = rows[v, i]
        if multiplicity[row] == 1:
            for p in range(start[row], start[row + 1]):
                if hits[columns[p]] >= met:
                    tried += 1
                    if tried > patience or _may_follow(rows, multiplicity, members, depth, need, columns[p]):
                        return False
    return True


@njit(cache=True)
def _may_follow(rows, multiplicity, members, depth, need, w):
    """Whether w loses ``need`` or more and is canonical in members[:depth + 1] + w."""
    # Its loss in S + v, from the counts with v, and then its rank with itself counted in.
    hit = 0
    for i in range(rows.shape[1]):
        hit += multiplicity[rows[w, i]] >= 1
    if hit < need or _contains(members, depth + 1, w):
        return False
    tally(rows, multiplicity, w, 1)
    canonical = _is_canonical(rows, multiplicity, members, depth + 1, w)
    tally(rows, multiplicity, w, -1)
    return canonical


@njit(cache=True)
def _add_and_queue(rows, start, columns, multiplicity, hits, queued, members, depth, need, queue):
    """Count v = members[depth - 1] in, and queue the columns that may come next: hits >= ``need``, each once.

    The next column has the least marginal loss of all, at most that of v: the loss that v has now and one for
    each row that only v meets. So if ``need`` is above the former, it meets such a row.

    Returns:
        number of columns queued, and of columns looked at.
    """
    # If the columns asked for must meet a row that only v meets, they all come by on the lists of these rows.
    v = members[depth - 1]
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
    # Marks are cleared for the next call; columns that need no new row are looked for among all.
    for q in range(count):
        queued[queue[q]] = False
    if not near:
        count, more = _queue_all(rows, start, columns, hits, queued, members, depth, need, queue)
        looked += more
    return count, looked


@njit(cache=True)
def _queue_all(rows, start, columns, hits, queued, members, depth, need, queue):
    """Queue every column with hits >= ``need``, from the lists of the rows of members[:depth] if that is quicker.

    Returns:
        number of columns queued, and of columns looked at.
    """
    # The lists of the set's rows are as long as this together.
    n, d = rows.shape
    met = 0
    for t in range(depth):
        for i in range(d):
            met += start[rows[members[t], i] + 1] - start[rows[members[t], i]]
    count = 0
    if need <= 0 or met >= n:
        for l in range(n):
            if hits[l] >= need:
                queue[count] = l
                count += 1
        return count, n
    for t in range(depth):
        for i in range(d):
            row = rows[members[t], i]
            for p in range(start[row], start[row + 1]):
                l = columns[p]
                if hits[l] >= need and not queued[l]:
                    queued[l] = True
                    queue[count] = l
                    count += 1
    for q in range(count):
        queued[queue[q]] = False
    return count, met


@njit(cache=True)
def _complete(rows, start, columns, multiplicity, hits, queued, members, loss, best, witness, queue):
    """Try the columns that may come last, beside members[:-1] of loss ``loss``; put the best set into ``witness``.

    Returns:
        number of columns looked at.
    """
    # The last column must lift the loss above the best known.
    last = members.size - 1
    v = members[last - 1]
    count, looked = _add_and_queue(
        rows, start, columns, multiplicity, hits, queued, members, last, best[0] + 1 - loss, queue
    )
    for q in range(count):
        # Any set that is good enough may be taken, canonical or not.
        l = queue[q]
        if loss + hits[l] > best[0] and not _contains(members, last, l):
            best[0] = loss + hits[l]
            witness[:last] = members[:last]
            witness[last] = l
    remove(rows, start, columns, multiplicity, hits, v)
    return looked


@njit(cache=True)
def _contains(members, depth, v):
    """Whether v is one of the first ``depth`` members."""
    found = False
    for t in range(depth):
        found |= members[t] == v
    return found


@njit(cache=True)
def _sort_by_hits(hits, queue, length, spare, place):
    """Put queue[:length] in order of decreasing hits; ``spare`` and ``place`` (d + 2,) are room to work in."""
    # By counting: hits are at most d. Equal ones keep their order.
    place[:] = 0
    for q in range(length):
        spare[q] = queue[q]
        place[hits[queue[q]]] += 1
    below = length
    for h in range(place.size):
        below -= place[h]
        place[h] = below
    for q in range(length):
        h = hits[spare[q]]
        queue[place[h]] = spare[q]
        place[h] += 1
