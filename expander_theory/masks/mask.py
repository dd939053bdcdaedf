"""The mask: a left-d-regular bipartite graph between n columns and m rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory.base import Immutable, InvalidArgument, require, require_int
from expander_theory.results import content_hash

if TYPE_CHECKING:
    import networkx
    import scipy.sparse


@dataclass(frozen=True, eq=False)
class Mask(Immutable):
    """Supports N(j) of the n columns of an m x n dictionary, each of d rows (THEORY.md section 0).

    Attributes:
        m: number of rows (dimension of the activation).
        rows: int32 array (n, d); ``rows[j]`` are the rows of column j, distinct and increasing.
            Stored as a read-only copy.
        recipe: how the mask was made, for people to read; no part of equality or of the hash.

    Raises:
        InvalidArgument: d > m, a row out of range, repeated or unsorted rows, or no column.
    """

    m: int
    rows: NDArray[np.int32]
    recipe: str = field(default="given", repr=True)

    def __post_init__(self) -> None:
        rows = np.asarray(self.rows)
        require(
            rows.ndim == 2 and rows.size > 0,
            "rows",
            f"array of shape {rows.shape}",
            "must have shape (n, d), n, d >= 1",
        )
        require(np.issubdtype(rows.dtype, np.integer), "rows", f"array of {rows.dtype}", "must be of an integer dtype")
        m = require_int("m", self.m)
        require(0 < m < 2**31, "m", m, "must be a positive 32-bit integer")
        rows = rows.astype(np.int64)  # unsigned differences would wrap
        require(rows.shape[1] <= self.m, "d", rows.shape[1], f"must be at most m = {self.m}")
        if rows.min() < 0 or rows.max() >= self.m:
            column = int(np.nonzero(((rows < 0) | (rows >= self.m)).any(axis=1))[0][0])
            raise InvalidArgument(f"rows[{column}]", rows[column].tolist(), f"must lie in 0..{self.m - 1}")
        unordered = (np.diff(rows, axis=1) <= 0).any(axis=1)
        if unordered.any():
            column = int(np.nonzero(unordered)[0][0])
            raise InvalidArgument(f"rows[{column}]", rows[column].tolist(), "must be distinct and increasing")
        rows = np.array(rows, dtype=np.int32, order="C")
        rows.flags.writeable = False
        object.__setattr__(self, "m", m)
        object.__setattr__(self, "rows", rows)

    @classmethod
    def from_columns(cls, m: int, columns: ArrayLike) -> Mask:
        """A mask from rows in any order: each column's rows are sorted first."""
        given = np.asarray(columns)
        require(given.ndim == 2, "columns", f"array of shape {given.shape}", "must have shape (n, d)")
        return cls(m, np.sort(given, axis=1))

    @property
    def n(self) -> int:
        """Number of columns (dictionary atoms)."""
        return self.rows.shape[0]

    @property
    def d(self) -> int:
        """Left degree: nonzeros per column."""
        return self.rows.shape[1]

    @cached_property
    def sha256(self) -> str:
        """Content hash (hex) of m and rows."""
        return content_hash({"m": self.m}, {"rows": self.rows})

    @cached_property
    def row_degrees(self) -> NDArray[np.int64]:
        """Number of columns through each row, shape (m,); read-only."""
        return _read_only(np.bincount(self.rows.ravel(), minlength=self.m))

    @cached_property
    def row_lists(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The transposed graph: row i is met by ``columns[start[i]:start[i + 1]]``, increasing.

        Returns:
            start (m + 1,) int64 and columns (n d,) int32, read-only.
        """
        start = np.concatenate([[0], np.cumsum(self.row_degrees)])
        order = np.argsort(self.rows.ravel(), kind="stable")
        return _read_only(start), _read_only((order // self.d).astype(np.int32))

    def neighbours(self, columns: ArrayLike) -> NDArray[np.int32]:
        """N(S): the rows met by at least one of the given columns, increasing.

        Raises:
            InvalidArgument: a column outside 0..n-1.
        """
        given = np.asarray(columns)
        require(given.size == 0 or np.issubdtype(given.dtype, np.integer), "columns", columns, "must be integers")
        chosen = given.astype(np.int64).ravel()
        require(bool(((chosen >= 0) & (chosen < self.n)).all()), "columns", columns, f"must lie in 0..{self.n - 1}")
        return np.unique(self.rows[chosen])

    def to_scipy(self, dtype: np.dtype | type = np.float64) -> scipy.sparse.csc_array:
        """The 0/1 matrix B as an (m, n) ``scipy.sparse.csc_array``."""
        import scipy.sparse

        data = np.ones(self.rows.size, dtype=dtype)
        starts = np.arange(0, self.rows.size + 1, self.d)
        return scipy.sparse.csc_array((data, self.rows.ravel(), starts), shape=(self.m, self.n))

    def to_networkx(self) -> networkx.Graph:
        """The bipartite graph: nodes ``("column", j)`` with bipartite=0 and ``("row", i)`` with bipartite=1."""
        import networkx

        graph = networkx.Graph()
        graph.add_nodes_from((("column", j) for j in range(self.n)), bipartite=0)
        graph.add_nodes_from((("row", i) for i in range(self.m)), bipartite=1)
        graph.add_edges_from((("column", j), ("row", int(i))) for j, rows in enumerate(self.rows) for i in rows)
        return graph

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.m == other.m and np.array_equal(self.rows, other.rows)

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Mask(m={self.m}, n={self.n}, d={self.d}, recipe={self.recipe!r})"


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
