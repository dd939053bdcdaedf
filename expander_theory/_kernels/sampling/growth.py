"""Masks grown column by column.

``last``, ``previous`` are growing row lists: the places j d + i of the entries rows[j, i] = r are
``last[r]``, ``previous[last[r]]``, ... down to -1. A column enters them when it is complete. With n d / m columns in a
list, an edge costs O(m) for the choice and O(n d^2 / m) for the counts; the tree of :func:`progressive_edge_growth` is
searched only while some row closes no 4-cycle.
"""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def _enter(rows, last, previous, j):
    for i in range(rows.shape[1]):
        place = j * rows.shape[1] + i
        previous[place] = last[rows[j, i]]
        last[rows[j, i]] = place


@njit(cache=True)
def _deepest(rows, last, previous, level):
    """Breadth-first search over rows that meet in a column, from the rows with level = 1 (others 0).

    Returns:
        The level of the last rows to be reached, or 0 if some are never reached (they keep 0).
    """
    # Level by level: a row enters the next level if one of its columns meets a row of this or an earlier one.
    d = rows.shape[1]
    depth = 1
    while True:
        reached, left = 0, 0
        for row in range(level.size):
            if level[row] != 0:
                continue
            place = last[row]
            while place >= 0 and level[row] == 0:
                l = place // d
                for t in range(d):
                    if 1 <= level[rows[l, t]] <= depth:
                        level[row] = depth + 1
                        break
                place = previous[place]
            if level[row] == 0:
                left += 1
            else:
                reached += 1
        # A level that stays empty means that the rows left lie in other components.
        if reached == 0:
            return 0
        depth += 1
        if left == 0:
            return depth


@njit(cache=True)
def progressive_edge_growth(rng, m, rows):
    """Fill ``rows`` (n, d), see :func:`expander_theory.masks.progressive_edge_growth_mask`.

    ``cycles[r]`` = sum over the earlier columns l through r of |N(l) cap N(j)|: the 4-cycles that
    an edge from column j to r would close. It is 0 exactly for the rows beyond depth 1 of the tree.
    """
    n, d = rows.shape
    last = np.full(m, -1, np.int64)
    previous = np.empty(n * d, np.int64)
    degree = np.zeros(m, np.int64)
    cycles = np.empty(m, np.int64)
    taken = np.zeros(m, np.bool_)
    level = np.empty(m, np.int32)
    candidates = np.empty(m, np.int64)
    # A column at a time, an edge at a time.
    for j in range(n):
        cycles[:] = 0
        for i in range(d):
            # The fewest 4-cycles that a new edge must close.
            fewest = np.iinfo(np.int64).max
            for r in range(m):
                if cycles[r] < fewest and not taken[r]:
                    fewest = cycles[r]
            # Grow the tree from the column's rows, and from those that close more cycles, to the rows furthest away.
            for r in range(m):
                level[r] = 1 if taken[r] or cycles[r] > fewest else 0
            # Rows that close cycles are all at depth 1, and so are on a par.
            depth = _deepest(rows, last, previous, level) if i > 0 and fewest == 0 else 0
            # Of these the rows of least degree; one of them at random.
            count, lowest = 0, n + 1
            for r in range(m):
                if level[r] == depth and degree[r] <= lowest:
                    if degree[r] < lowest:
                        count, lowest = 0, degree[r]
                    candidates[count] = r
                    count += 1
            row = candidates[rng.integers(0, count)]
            rows[j, i] = row
            taken[row] = True
            degree[row] += 1
            # Each earlier column through the row would close a 4-cycle with an edge to another of its rows.
            place = last[row]
            while place >= 0:
                l = place // d
                for t in range(d):
                    cycles[rows[l, t]] += 1
                place = previous[place]
        for i in range(d):
            taken[rows[j, i]] = False
        _enter(rows, last, previous, j)


@njit(cache=True)
def _meet(rows, last, previous, row, max_overlap, overlap, blocked, sign):
    """Add (sign 1) or take back (-1) ``row`` of the present column: columns at the limit block their rows."""
    d = rows.shape[1]
    place = last[row]
    while place >= 0:
        l = place // d
        if overlap[l] + (sign == 1) == max_overlap:
            for t in range(d):
                blocked[rows[l, t]] += sign
        overlap[l] += sign
        place = previous[place]


@njit(cache=True)
def limited_overlap(rng, m, max_overlap, attempts, rows):
    """Fill ``rows`` (n, d) column by column with random rows that keep every overlap <= max_overlap.

    Returns:
        n, or the first column that ran out of rows ``attempts`` times.
    """
    n, d = rows.shape
    last = np.full(m, -1, np.int64)
    previous = np.empty(n * d, np.int64)
    overlap = np.zeros(n, np.int32)
    blocked = np.zeros(m, np.int32)  # by how many columns at the limit, or by column j itself
    candidates = np.empty(m, np.int64)
    for j in range(n):
        size, failures = 0, 0
        while size < d:
            # The rows that keep every overlap within the limit; one of them at random.
            count = 0
            for r in range(m):
                if blocked[r] == 0:
                    candidates[count] = r
                    count += 1
            if count > 0:
                row = candidates[rng.integers(0, count)]
                rows[j, size] = row
                size += 1
                blocked[row] += 1
                _meet(rows, last, previous, row, max_overlap, overlap, blocked, 1)
                continue
            # None left: give up the column's rows, the last first, and start it again.
            failures += 1
            if failures == attempts:
                return j
            while size > 0:
                size -= 1
                blocked[rows[j, size]] -= 1
                _meet(rows, last, previous, rows[j, size], max_overlap, overlap, blocked, -1)
        # Overlaps are those with the present column: take them back before the next. (With limit 0 a row may be used
        # once only, and stays blocked.)
        for i in range(d):
            if max_overlap > 0:
                blocked[rows[j, i]] -= 1
            _meet(rows, last, previous, rows[j, i], max_overlap, overlap, blocked, -1)
        _enter(rows, last, previous, j)
    return n
