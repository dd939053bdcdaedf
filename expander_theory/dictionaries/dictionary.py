"""Dictionaries W in R^{m x n}: masked ones that store d n values, and dense ones as the reference.

Both kinds answer the same calls, and so do those that are made of both
(:class:`expander_theory.BlockDictionary`). Activations are rows: ``h`` has shape (batch, m), codes (batch, n).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory._kernels.linear.products import correlate, gather, row_norms, scatter
from expander_theory._kernels.linear.vectors import aligned, lanes_of
from expander_theory.base import Immutable, require
from expander_theory.masks import Mask
from expander_theory.results import content_hash, write_arrays

if TYPE_CHECKING:
    import scipy.sparse

Floats = NDArray[np.floating[Any]]

KIND, DENSE_KIND, VERSION = "expander-dictionary", "dense-dictionary", 1


def checked_signals(name: str, signals: ArrayLike, width: int, dtype: np.dtype[Any] | None = None) -> Floats:
    """Signals as a C-contiguous floating (batch, width) array; a single vector becomes a batch of one.

    Args:
        signals: real numbers of any dtype and byte order.
        dtype: the result's dtype; by default float32 stays float32 and everything else is float64.

    Raises:
        InvalidArgument: no real numbers, wrong width, or NaN or infinite entries.
    """
    array = real_array(name, signals)
    require(
        array.ndim in (1, 2) and array.shape[-1] == width,
        name,
        f"array of shape {array.shape}",
        f"must have shape (batch, {width}) or ({width},)",
    )
    array = np.atleast_2d(array)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        require(False, name, f"array with NaN or infinity in row {first}", "must be finite")
    return np.ascontiguousarray(array, dtype=dtype)


def real_array(name: str, values: ArrayLike) -> Floats:
    """Real numbers of any dtype and byte order as a native array: float32 stays float32, all else becomes float64.

    Raises:
        InvalidArgument: complex numbers, or no numbers.
    """
    array = np.asarray(values)
    require(array.dtype.kind in "biuf", name, f"array of {array.dtype}", "must be real numbers")
    single = array.dtype.kind == "f" and array.dtype.itemsize == 4
    return array.astype(np.float32 if single else np.float64, copy=False)


@dataclass(frozen=True, eq=False)
class Dictionary(Immutable):
    """A masked dictionary: column j has ``values[j, i]`` in row ``mask.rows[j, i]``, zero elsewhere.

    Attributes:
        mask: the supports.
        values: (n, d), finite; a read-only copy is stored, float32 as it is, other real numbers as float64.

    Raises:
        InvalidArgument: wrong shape, no real numbers, NaN or infinite values, or a zero column.
    """

    mask: Mask
    values: Floats = field(repr=False)

    def __post_init__(self) -> None:
        values = real_array("values", self.values)
        require(
            values.shape == self.mask.rows.shape,
            "values",
            f"array of shape {values.shape}",
            f"must have the mask's shape (n, d) = {self.mask.rows.shape}",
        )
        _require_finite_nonzero(values)
        values = np.array(values, order="C")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @property
    def m(self) -> int:
        """Number of rows: the width of an activation."""
        return self.mask.m

    @property
    def n(self) -> int:
        """Number of columns (atoms): the length of a code."""
        return self.mask.n

    @property
    def d(self) -> int:
        """Nonzeros per column; m for a dense dictionary."""
        return self.mask.d

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self.values.dtype

    @cached_property
    def sha256(self) -> str:
        """Content hash (hex) of mask and values."""
        return content_hash({"m": self.m}, {"rows": self.mask.rows, "values": self.values})

    @cached_property
    def column_norms(self) -> Floats:
        """l2 norms of the columns, shape (n,), float64; read-only."""
        return _norms(self.values)

    def normalised(self) -> Dictionary:
        """This dictionary with unit-l2 columns (float64 arithmetic, then the dtype of ``values``)."""
        return Dictionary(self.mask, _normalised(self.values))

    def astype(self, dtype: np.dtype[Any] | type) -> Dictionary:
        """This dictionary with values rounded to another dtype; kept in float64 where that is not float32."""
        return self if self.dtype == dtype else Dictionary(self.mask, self.values.astype(dtype))

    def matvec(self, x: ArrayLike) -> Floats:
        """W x for codes x of shape (batch, n) or (n,); O(d) per nonzero of x. Result (batch, m) or (m,).

        Raises:
            InvalidArgument: wrong width, no real numbers, NaN or infinity.
        """
        codes = checked_signals("x", x, self.n)
        out = np.zeros((codes.shape[0], self.m), codes.dtype)
        scatter(self.mask.rows, self.values, codes, out)
        return out.reshape(*np.shape(x)[:-1], self.m)

    def rmatvec(self, h: ArrayLike) -> Floats:
        """W^T h for activations h of shape (batch, m) or (m,), by O(d n) gather-and-reduce. Result (batch, n) or (n,).

        Raises:
            InvalidArgument: wrong width, no real numbers, NaN or infinity.
        """
        signals = checked_signals("h", h, self.m)
        out = np.empty((signals.shape[0], self.n), signals.dtype)
        if signals.dtype == self.dtype:
            tile = aligned((self.m, lanes_of(self.dtype)), self.dtype)
            correlate(self.mask.rows, self.values, signals, tile, out)
        else:
            gather(self.mask.rows, self.values, signals, out)
        return out.reshape(*np.shape(h)[:-1], self.n)

    def to_scipy(self) -> scipy.sparse.csc_array:
        """W as an (m, n) ``scipy.sparse.csc_array``."""
        matrix = self.mask.to_scipy(self.dtype)
        matrix.data = self.values.ravel().copy()
        return matrix

    def to_dense(self) -> Floats:
        """W as an (m, n) array."""
        dense = np.zeros((self.m, self.n), self.dtype)
        dense[self.mask.rows, np.arange(self.n)[:, None]] = self.values
        return dense

    def gram(self) -> scipy.sparse.csr_array:
        """G = W^T W, shape (n, n), sparse; entries exist where two supports meet."""
        matrix = self.to_scipy()
        return (matrix.T @ matrix).tocsr()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save mask and values in one hashed safetensors file."""
        fields = {"m": self.m, "recipe": self.mask.recipe}
        write_arrays(path, KIND, VERSION, fields, {"rows": self.mask.rows, "values": self.values})


@dataclass(frozen=True, eq=False)
class DenseDictionary(Immutable):
    """An unrestricted dictionary behind the interface of :class:`Dictionary` (d = m).

    Attributes:
        columns: (n, m); ``columns[j]`` is column j of W. A read-only copy is stored, float32 as it is, other real
            numbers as float64.

    Raises:
        InvalidArgument: not two-dimensional, no real numbers, NaN or infinite values, or a zero column.
    """

    columns: Floats = field(repr=False)

    def __post_init__(self) -> None:
        columns = real_array("columns", self.columns)
        require(
            columns.ndim == 2 and columns.size > 0,
            "columns",
            f"array of shape {columns.shape}",
            "must have shape (n, m)",
        )
        _require_finite_nonzero(columns)
        columns = np.array(columns, order="C")
        columns.flags.writeable = False
        object.__setattr__(self, "columns", columns)

    @property
    def m(self) -> int:
        """Number of rows: the width of an activation."""
        return self.columns.shape[1]

    @property
    def n(self) -> int:
        """Number of columns (atoms): the length of a code."""
        return self.columns.shape[0]

    @property
    def d(self) -> int:
        """Nonzeros per column; m for a dense dictionary."""
        return self.m

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self.columns.dtype

    @property
    def values(self) -> Floats:
        """The stored values, (n, m): what ``Dictionary.values`` is at d = m."""
        return self.columns

    @cached_property
    def sha256(self) -> str:
        """Content hash (hex) of the values."""
        return content_hash({"m": self.m}, {"columns": self.columns})

    @cached_property
    def column_norms(self) -> Floats:
        """l2 norms of the columns, shape (n,), float64; read-only."""
        return _norms(self.columns)

    def normalised(self) -> DenseDictionary:
        """This dictionary with unit-l2 columns."""
        return DenseDictionary(_normalised(self.columns))

    def astype(self, dtype: np.dtype[Any] | type) -> DenseDictionary:
        """This dictionary with values rounded to another dtype; kept in float64 where that is not float32."""
        return self if self.dtype == dtype else DenseDictionary(self.columns.astype(dtype))

    def matvec(self, x: ArrayLike) -> Floats:
        """W x; see :meth:`Dictionary.matvec`."""
        codes = checked_signals("x", x, self.n)
        return (codes @ self.columns).astype(codes.dtype, copy=False).reshape(*np.shape(x)[:-1], self.m)

    def rmatvec(self, h: ArrayLike) -> Floats:
        """W^T h; see :meth:`Dictionary.rmatvec`."""
        signals = checked_signals("h", h, self.m)
        return (signals @ self.columns.T).astype(signals.dtype, copy=False).reshape(*np.shape(h)[:-1], self.n)

    def to_scipy(self) -> scipy.sparse.csc_array:
        """W as an (m, n) ``scipy.sparse.csc_array``."""
        import scipy.sparse

        return scipy.sparse.csc_array(self.columns.T)

    def to_dense(self) -> Floats:
        """W as an (m, n) array."""
        return self.columns.T.copy()

    def gram(self) -> Floats:
        """G = W^T W, shape (n, n)."""
        return self.columns @ self.columns.T

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the values in one hashed safetensors file."""
        write_arrays(path, DENSE_KIND, VERSION, {}, {"columns": self.columns})


def _norms(values: Floats) -> Floats:
    """l2 norms of the rows in float64; squares neither overflow nor vanish."""
    out = np.empty(len(values))
    row_norms(values, out)
    out.flags.writeable = False
    return out


def _normalised(values: Floats) -> Floats:
    scaled = values / np.abs(values).max(axis=1, keepdims=True).astype(np.float64)
    return (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(values.dtype)


def _require_finite_nonzero(values: Floats) -> None:
    require(bool(np.isfinite(values).all()), "values", "array with NaN or infinity", "must be finite")
    empty = ~values.any(axis=1)
    require(
        not empty.any(), "values", f"array whose column {int(np.argmax(empty))} is zero", "must have no zero column"
    )
