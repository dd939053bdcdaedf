"""The losses of a set of columns that changes by one column at a time.

The loss of a set S is d|S| - |N(S)|, its collisions (THEORY.md section 0). The searches keep
``multiplicity[i]`` = |{j in S: i in N(j)}| and ``hits[l]`` = |N(l) cap N(S)|, so that adding column l raises the loss
by exactly ``hits[l]``. A change of S costs O(d) for the first, and for the second O(n d / m) for each row that enters
or leaves N(S).
"""

from expander_theory.base import njit


@njit(cache=True)
def add(rows, start, columns, multiplicity, hits, j):
    """Add column j: every column that meets a row new to N(S) hits N(S) once more."""
    for i in range(rows.shape[1]):
        row = rows[j, i]
        if multiplicity[row] == 0:
            for p in range(start[row], start[row + 1]):
                hits[columns[p]] += 1
        multiplicity[row] += 1


@njit(cache=True)
def remove(rows, start, columns, multiplicity, hits, j):
    """Take column j away: rows that no other member meets leave N(S)."""
    for i in range(rows.shape[1]):
        row = rows[j, i]
        multiplicity[row] -= 1
        if multiplicity[row] == 0:
            for p in range(start[row], start[row + 1]):
                hits[columns[p]] -= 1


@njit(cache=True)
def tally(rows, multiplicity, v, change):
    """Add column v (``change`` 1) or take it away (-1) in ``multiplicity`` alone, where ``hits`` are not needed."""
    for i in range(rows.shape[1]):
        multiplicity[rows[v, i]] += change


@njit(cache=True)
def marginal_loss(rows, multiplicity, v):
    """By how much the loss falls when the member v leaves: the rows that others meet as well."""
    marginal = 0
    for i in range(rows.shape[1]):
        marginal += multiplicity[rows[v, i]] >= 2
    return marginal
