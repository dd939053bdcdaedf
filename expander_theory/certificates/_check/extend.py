"""Columns that join sets of columns with a large loss: one step of the checker's search (see _check_search.py)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.certificates._check.overlaps import Ints, adjacency, products

CELLS = 4_000_000  # numbers in one array of one step of the search
_MOST_PAIRS = 20_000_000


@dataclass(frozen=True)
class Sets:
    """Sets of one size, (count, size) in any order, and their losses (count,)."""

    columns: Ints
    losses: Ints

    def __len__(self) -> int:
        return len(self.losses)

    def __getitem__(self, places: Ints | NDArray[np.bool_]) -> "Sets":
        return Sets(self.columns[places], self.losses[places])


class Extension:
    """Pairs of columns, and S + u for sets S and columns u that share many rows with a column of S."""

    def __init__(self, m: int, rows: Ints) -> None:
        self.rows = rows
        self._columns = adjacency(m, rows)
        self._transposed = self._columns.T.tocsr()
        self._graphs: dict[int, Any] = {}

    def pairs(self, least: int, *, progress: bool, what: str) -> Iterator[Sets]:
        """All pairs of columns that share at least ``least`` >= 1 rows."""
        for j, l, shared in products(self._columns, progress=progress, what=what):
            kept = (j < l) & (shared >= least)
            yield Sets(np.stack([j[kept], l[kept]], axis=1).astype(np.int32), shared[kept].astype(np.int32))

    def work(self, size: int, near: int) -> int:
        """Numbers in the arrays of :meth:`grow` for one set of ``size`` columns."""
        n, d = self.rows.shape
        graph = self._graph(near)
        if graph is not None:
            return max(1, size * int(np.diff(graph.indptr).max()) * (size + 1) * d)
        return n if near == 0 else min(n, size * d * int(np.diff(self._transposed.indptr).max()))

    def candidates(self, part: Sets, near: int) -> int:
        """How many (S, u, shared row) :meth:`grow` looks at, counted before it does; u may come several times."""
        graph = self._graph(near)
        if graph is not None:
            degrees = np.diff(graph.indptr).astype(np.int64)
            return int(degrees[part.columns].sum()) * (part.columns.shape[1] + 1)
        if near == 0:
            return len(part) * len(self.rows)
        degrees = np.diff(self._transposed.indptr).astype(np.int64)
        return int(degrees[self.rows[part.columns]].sum())

    def grow(self, part: Sets, near: int, least: int) -> Sets:
        """All S + u, u not in S, of loss >= ``least`` for which u shares at least ``near`` rows with a column of S."""
        graph = self._graph(near)
        if graph is not None:
            place, u = self._neighbours(part.columns, graph)
        else:
            place, u, shared = self._hits(part.columns, everything=near == 0)
            enough = part.losses[place] + shared >= least
            place, u = place[enough], u[enough]
        new = (part.columns[place] != u[:, None]).all(axis=1)
        sets = np.concatenate([part.columns[place[new]], u[new, None]], axis=1).astype(np.int32)
        losses = self._losses(sets)
        kept = losses >= least
        return Sets(sets[kept], losses[kept])

    def _neighbours(self, sets: Ints, graph: Any) -> tuple[Ints, Ints]:
        """(place of S, u) for all u that are next to a column of S, each once."""
        import scipy.sparse

        starts = np.arange(0, sets.size + 1, sets.shape[1])
        ones = np.ones(sets.size, np.int32)
        chosen = scipy.sparse.csr_array((ones, sets.ravel(), starts), shape=(len(sets), graph.shape[0]))
        found = (chosen @ graph).tocoo()
        return found.row, found.col

    def _hits(self, sets: Ints, everything: bool) -> tuple[Ints, Ints, Ints]:
        """(place of S, u, |N(S) cap N(u)|) where that is positive, or for ``everything``."""
        import scipy.sparse

        met = self.rows[sets].reshape(len(sets), -1)
        starts = np.arange(0, met.size + 1, met.shape[1])
        ones = np.ones(met.size, np.int32)
        shape = (len(sets), self._transposed.shape[0])
        covered = scipy.sparse.csr_array((ones, met.ravel(), starts), shape=shape)
        covered.sum_duplicates()
        covered.data[:] = 1
        hits = covered @ self._transposed
        if everything:
            dense = hits.toarray()
            place, u = np.indices(dense.shape).reshape(2, -1)
            return place, u, dense.ravel()
        hits = hits.tocoo()
        return hits.row, hits.col, hits.data

    def _losses(self, sets: Ints) -> Ints:
        """coll of each set: its edges less its different rows."""
        met = np.sort(self.rows[sets].reshape(len(sets), sets.shape[1] * self.rows.shape[1]), axis=1)
        return (met[:, 1:] == met[:, :-1]).sum(axis=1).astype(np.int32)

    def _graph(self, near: int) -> Any:
        """The 0/1 matrix of the pairs that share at least ``near`` >= 2 rows, or None: below 2, or too many."""
        if near >= 2 and near not in self._graphs:
            import scipy.sparse

            n = self.rows.shape[0]
            ends: list[tuple[Ints, Ints]] = []
            for j, l, shared in products(self._columns, progress=False, what="pairs"):
                ends.append((j[shared >= near], l[shared >= near]))
                if sum(len(j) for j, _ in ends) > _MOST_PAIRS:
                    self._graphs[near] = None
                    break
            else:
                j, l = (np.concatenate(side) for side in zip(*ends, strict=True))
                self._graphs[near] = scipy.sparse.csr_array((np.ones(len(j), np.int32), (j, l)), shape=(n, n))
        return self._graphs.get(near)
