"""Dictionaries of two blocks: r dense columns, then n - r masked ones over the same m rows.

A few dense columns carry the directions that all signals share, and masked ones the rest. r = 0 and r = n are the other
two kinds of dictionary, and no :class:`BlockDictionary`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from expander_theory.base import Immutable, require
from expander_theory.dictionaries.dictionary import DenseDictionary, Dictionary, Floats, checked_signals
from expander_theory.results import content_hash, write_arrays

if TYPE_CHECKING:
    import scipy.sparse

BLOCK_KIND, BLOCK_VERSION = "block-dictionary", 1


@dataclass(frozen=True, eq=False)
class BlockDictionary(Immutable):
    """Columns 0 .. r - 1 are those of ``dense``, columns r .. n - 1 those of ``masked``; see :class:`Dictionary`.

    It stores r m + (n - r) d values. There is no one number of nonzeros a column, so that ``d``, ``values`` and
    ``mask`` are to be asked of the parts.

    Attributes:
        dense: the first r columns, r >= 1.
        masked: the others, at least one.

    Raises:
        InvalidArgument: parts of other kinds, or of different numbers of rows or dtypes.
    """

    dense: DenseDictionary
    masked: Dictionary

    def __post_init__(self) -> None:
        for name, part, kind in (("dense", self.dense, DenseDictionary), ("masked", self.masked, Dictionary)):
            require(isinstance(part, kind), name, f"a {type(part).__name__}", f"must be a {kind.__name__}")
        m, dtype = self.dense.m, self.dense.dtype
        require(self.masked.m == m, "masked", f"of m = {self.masked.m} rows", f"must have m = {m}, as dense has")
        require(self.masked.dtype == dtype, "masked", f"of {self.masked.dtype}", f"must be of {dtype}, as dense is")

    @property
    def m(self) -> int:
        """Number of rows: the width of an activation."""
        return self.dense.m

    @property
    def n(self) -> int:
        """Number of columns (atoms): the length of a code."""
        return self.dense.n + self.masked.n

    @property
    def r(self) -> int:
        """Number of dense columns."""
        return self.dense.n

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self.dense.dtype

    @cached_property
    def sha256(self) -> str:
        """Content hash (hex) of both parts."""
        arrays = {"columns": self.dense.columns, "rows": self.masked.mask.rows, "values": self.masked.values}
        return content_hash({"m": self.m}, arrays)

    @cached_property
    def column_norms(self) -> Floats:
        """l2 norms of the columns, shape (n,), float64; read-only."""
        norms = np.concatenate([self.dense.column_norms, self.masked.column_norms])
        norms.flags.writeable = False
        return norms

    def normalised(self) -> BlockDictionary:
        """This dictionary with unit-l2 columns (float64 arithmetic, then the dtype of the values)."""
        return BlockDictionary(self.dense.normalised(), self.masked.normalised())

    def astype(self, dtype: np.dtype[Any] | type) -> BlockDictionary:
        """This dictionary with values rounded to another dtype; kept in float64 where that is not float32."""
        return self if self.dtype == dtype else BlockDictionary(self.dense.astype(dtype), self.masked.astype(dtype))

    def matvec(self, x: ArrayLike) -> Floats:
        """W x for codes x of shape (batch, n) or (n,); O(r m) a code and O(d) per other nonzero. Result (batch, m) or
        (m,).

        Raises:
            InvalidArgument: wrong width, no real numbers, NaN or infinity.
        """
        codes = checked_signals("x", x, self.n)
        out = self.dense.matvec(codes[:, : self.r]) + self.masked.matvec(codes[:, self.r :])
        return out.reshape(*np.shape(x)[:-1], self.m)

    def rmatvec(self, h: ArrayLike) -> Floats:
        """W^T h for activations h of shape (batch, m) or (m,): one product and one gather. Result (batch, n) or (n,).

        Raises:
            InvalidArgument: wrong width, no real numbers, NaN or infinity.
        """
        return np.concatenate([self.dense.rmatvec(h), self.masked.rmatvec(h)], axis=-1)

    def to_scipy(self) -> scipy.sparse.csc_array:
        """W as an (m, n) ``scipy.sparse.csc_array``."""
        import scipy.sparse

        return scipy.sparse.csc_array(scipy.sparse.hstack([self.dense.to_scipy(), self.masked.to_scipy()]))

    def to_dense(self) -> Floats:
        """W as an (m, n) array."""
        return np.concatenate([self.dense.to_dense(), self.masked.to_dense()], axis=1)

    def densified(self) -> DenseDictionary:
        """All columns as a dense dictionary, for what has no loops over blocks: m n values."""
        return DenseDictionary(self.to_dense().T)

    def gram(self) -> Floats:
        """G = W^T W, shape (n, n): a dense column meets all others."""
        r, g = self.r, np.empty((self.n, self.n), self.dtype)
        g[:r, :r] = self.dense.gram()
        g[:r, r:] = self.masked.rmatvec(self.dense.columns)
        g[r:, :r] = g[:r, r:].T
        g[r:, r:] = self.masked.gram().toarray()
        return g

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save both parts in one hashed safetensors file."""
        mask = self.masked.mask
        arrays = {"columns": self.dense.columns, "rows": mask.rows, "values": self.masked.values}
        write_arrays(path, BLOCK_KIND, BLOCK_VERSION, {"m": self.m, "recipe": mask.recipe}, arrays)
