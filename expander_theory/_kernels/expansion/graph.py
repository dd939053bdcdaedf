"""A mask with its row lists, and with its values, as the loops of this folder take them.

A function opens its tuple once; numba then counts references, atomically. Beside a row of the Gram matrix that is
nothing, and the functions that compute one take the tuple. Beside the few steps that a search spends on a column it is
not: see :mod:`expander_theory._kernels.expansion.reverse_search`.
"""

from typing import Any, NamedTuple

import numpy as np


class Graph(NamedTuple):
    """``rows`` (n, d), and the row lists: row i is met by ``columns[start[i]:start[i + 1]]``, increasing."""

    rows: Any
    start: Any
    columns: Any


class Entries(NamedTuple):
    """A :class:`Graph` with ``values`` (n, d); ``entry[p]`` is the value of ``columns[p]`` at the row that lists it."""

    rows: Any
    values: Any
    start: Any
    columns: Any
    entry: Any


def entries(rows: Any, values: Any, row_lists: Any) -> Entries:
    """The values in the order of the row lists as well; O(n d log(n d)) for the sort."""
    order = np.argsort(rows.ravel(), kind="stable")
    start, columns = row_lists
    return Entries(rows, values, start, columns, values.ravel()[order])
