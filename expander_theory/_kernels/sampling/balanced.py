"""Repair of a random assignment of row stubs to columns: O(n d^2) to look for repeats, O(d) for a swap."""

from expander_theory.base import njit


@njit(cache=True)
def _multiplicity(rows, j, row):
    count = 0
    for i in range(rows.shape[1]):
        count += rows[j, i] == row
    return count


@njit(cache=True)
def repair_repeats(rng, rows):
    """Swap entries of ``rows`` (n, d) at random until no column has a row twice; row degrees stay.

    A repeated row a of column j goes to a random place (l, t) of a column without a, in exchange
    for a row x that j lacks or that l has twice. Each swap takes away at least one repeat, and
    makes none in a column that has none. One exists in every column l without a: if N(l) lies in
    N(j) - {a}, then l has fewer than d distinct rows, so one of them twice.
    """
    n, d = rows.shape
    for j in range(n):
        for i in range(d):
            # An entry that repeats an earlier one of its column is swapped away, until what came in is new.
            while _multiplicity(rows[:, : i + 1], j, rows[j, i]) > 1:
                l, t = rng.integers(0, n), rng.integers(0, d)
                # The swap must give column j a row that it lacks (or rid l of a repeat), and l one that it lacks.
                a, x = rows[j, i], rows[l, t]
                useful = _multiplicity(rows, j, x) == 0 or _multiplicity(rows, l, x) > 1
                if useful and _multiplicity(rows, l, a) == 0:
                    rows[j, i], rows[l, t] = x, a
