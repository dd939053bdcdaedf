"""Searches for sets of columns with few neighbours.

The loss of a set S is d|S| - |N(S)|, its collisions (THEORY.md section 0). All loops keep
``multiplicity[i]`` = |{j in S: i in N(j)}| and ``hits[l]`` = |N(l) cap N(S)|, so that adding
column l raises the loss by exactly ``hits[l]``.
"""

import numpy as np

from expander_theory.base import njit

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
    """Whether v has the least marginal loss in S + v, largest index on ties (``multiplicity`` counts v as well).

    Removing the canonical member gives each set exactly one parent, so each is made once.
    """
    own = _marginal(rows, multiplicity, v)
    for t in range(depth - 1, -1, -1):
        marginal = _marginal(rows, multiplicity, members[t])
        if marginal < own or (marginal == own and members[t] > v):
            return False
    return True


@njit(cache=True)
def _marginal(rows, multiplicity, v):
    """Marginal loss of v in a set that it belongs to."""
    marginal = 0
    for i in range(rows.shape[1]):
        marginal += multiplicity[rows[v, i]] >= 2
    return marginal


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
    v, met, of_last = members[depth], 0, 0
    for t in range(depth):
        of_last = max(0, need - _marginal(rows, multiplicity, members[t]))
        met += of_last
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
    hit = 0
    for i in range(rows.shape[1]):
        hit += multiplicity[rows[w, i]] >= 1
    if hit < need or _contains(members, depth + 1, w):
        return False
    _count(rows, multiplicity, w, 1)
    canonical = _is_canonical(rows, multiplicity, members, depth + 1, w)
    _count(rows, multiplicity, w, -1)
    return canonical


@njit(cache=True)
def _count(rows, multiplicity, v, change):
    for i in range(rows.shape[1]):
        multiplicity[rows[v, i]] += change


@njit(cache=True)
def _queue_all(rows, start, columns, hits, queued, members, depth, need, queue):
    """Queue every column with hits >= ``need``, from the lists of the rows of members[:depth] if that is quicker.

    Returns:
        number of columns queued, and of columns looked at.
    """
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
def _add_and_queue(rows, start, columns, multiplicity, hits, queued, members, depth, need, queue):
    """Count v = members[depth - 1] in, and queue the columns that may come next: hits >= ``need``, each once.

    The next column has the least marginal loss of all, at most that of v: the loss that v has now and one for
    each row that only v meets. So if ``need`` is above the former, it meets such a row.

    Returns:
        number of columns queued, and of columns looked at.
    """
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
    for q in range(count):
        queued[queue[q]] = False
    if not near:
        count, more = _queue_all(rows, start, columns, hits, queued, members, depth, need, queue)
        looked += more
    return count, looked


@njit(cache=True)
def _complete(rows, start, columns, multiplicity, hits, queued, members, loss, best, witness, queue):
    """Try the columns that may come last, beside members[:-1] of loss ``loss``; put the best set into ``witness``.

    Returns:
        number of columns looked at.
    """
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
    _remove(rows, start, columns, multiplicity, hits, v)
    return looked


@njit(cache=True)
def _contains(members, depth, v):
    found = False
    for t in range(depth):
        found |= members[t] == v
    return found


@njit(cache=True)
def _sort_by_hits(hits, queue, length, spare, place):
    """Put queue[:length] in order of decreasing hits; ``spare`` and ``place`` (d + 2,) are room to work in."""
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
    patience = columns.size // (2 * multiplicity.size)  # looking at more columns costs more than going on
    spare, place = np.empty(rows.shape[0], np.int32), np.empty(d + 2, np.int64)
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
        if loss < thresholds[depth + 1] or _contains(members, depth, v):
            continue
        members[depth] = v
        need = thresholds[depth + 2] - loss
        _count(rows, multiplicity, v, 1)
        goes_on = _is_canonical(rows, multiplicity, members, depth, v)
        if goes_on and depth > 0:
            before, last_loss = thresholds[depth + 1] - losses[depth], losses[depth] - losses[depth - 1]
            goes_on = not _is_dead_end(
                rows, start, columns, multiplicity, hits, members, depth, need, queue[depth], length[depth],
                before, last_loss, patience,
            )  # fmt: skip
        _count(rows, multiplicity, v, -1)
        if not goes_on:
            continue
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
def swap_search(rng, rows, start, columns, m, members, steps, tenure, witness):
    """Tabu search from the set ``members``: swap the column of least marginal loss for the one that collides most.

    Ties go to the first after a random place; neither column moves back within ``tenure`` swaps. ``witness`` receives
    the best set met.

    Returns:
        its loss.
    """
    n, size = rows.shape[0], members.size
    multiplicity, hits = np.zeros(m, np.int32), np.zeros(n, np.int32)
    closed = np.zeros(n, np.int64)  # the column may not move before that swap
    inside = np.zeros(n, np.bool_)
    loss = 0
    for v in members:
        loss += hits[v]
        inside[v] = True
        _add(rows, start, columns, multiplicity, hits, v)
    best = loss
    witness[:] = members
    for step in range(steps):
        first, place, least = rng.integers(0, size), -1, 0
        for t in range(size):
            u = first + t if first + t < size else first + t - size
            if closed[members[u]] <= step:
                marginal = _marginal(rows, multiplicity, members[u])
                if place < 0 or marginal < least:
                    place, least = u, marginal
        if place < 0:
            continue
        old = members[place]
        _remove(rows, start, columns, multiplicity, hits, old)
        first, new, most = rng.integers(0, n), -1, -1
        for half in range(2):
            for l in range(first if half == 0 else 0, n if half == 0 else first):
                if hits[l] > most and not inside[l] and closed[l] <= step:
                    new, most = l, hits[l]
        inside[old] = False
        if new < 0:
            new, most = old, hits[old]
        inside[new] = True
        closed[old] = closed[new] = step + 1 + tenure
        members[place] = new
        _add(rows, start, columns, multiplicity, hits, new)
        loss += most - least
        if loss > best:
            best = loss
            witness[:] = members
    return best
