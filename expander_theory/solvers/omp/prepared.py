"""A dictionary made ready for the OMP kernels: unit columns of one dtype, and what each backend derives from them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.linear import screens, vectors
from expander_theory._kernels.linear.row_lists import row_lists
from expander_theory._kernels.omp import gram as omp_gram
from expander_theory.base import require
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, Dictionary, Floats
from expander_theory.solvers.guarantees._codes import Guarantees

_UNIT = 1e-6


class Prepared:
    """Unit columns of a dictionary in one dtype; the rest is computed when a backend first asks for it.

    Attributes:
        dictionary: what was given.
        dtype: float32 or float64.
        rows: int32 (n, d), or None if dense; of blocks those of the masked columns, (n - r, d).
        values: (n, d), or (n, m) if dense; of blocks all values in one axis, as :mod:`blocks` has them.
    """

    def __init__(self, dictionary: AnyDictionary, dtype: Any) -> None:
        self.dictionary, self.dtype = dictionary, np.dtype(dtype).newbyteorder("=")
        require(self.dtype in (np.float32, np.float64), "dtype", self.dtype, "must be float32 or float64")
        wide = np.promote_types(dictionary.dtype, self.dtype)  # columns are rounded once, after they are divided
        unit = dictionary if self.norms is None else dictionary.astype(wide).normalised()
        masked = unit.masked if isinstance(unit, BlockDictionary) else unit
        self.values = _fixed(masked.values, self.dtype)
        self.rows = _fixed(masked.mask.rows, np.dtype(np.int32)) if isinstance(masked, Dictionary) else None
        if isinstance(unit, BlockDictionary):
            self.values = _fixed(np.concatenate([unit.dense.values.ravel(), masked.values.ravel()]), self.dtype)

    def __reduce__(self) -> tuple[type, tuple[AnyDictionary, np.dtype[Any]]]:
        return type(self), (self.dictionary, self.dtype)  # a copy derives its own: smaller, and read-only as here

    @cached_property
    def norms(self) -> Floats | None:
        """Norms of the columns as given, or None if all are 1."""
        norms = self.dictionary.column_norms
        return norms if np.abs(norms - 1).max() > _UNIT else None

    @cached_property
    def words(self) -> NDArray[np.int16]:
        """The values of masked columns as 16-bit integers, for :mod:`screens`."""
        values = self.parts[1] if isinstance(self.dictionary, BlockDictionary) else self.values
        return _fixed(screens.words(values), np.dtype(np.int16))

    @cached_property
    def padded(self) -> tuple[NDArray[np.int32], Floats]:
        """Rows and values with zero columns added, up to a whole block of :func:`vectors.correlations`."""
        assert self.rows is not None
        block = vectors.BLOCK_BYTES // self.dtype.itemsize
        extra = -len(self.rows) % block
        if extra == 0:
            return self.rows, self.values
        arrays = (np.pad(array, ((0, extra), (0, 0))) for array in (self.rows, self.values))
        rows, values = (_fixed(array, array.dtype) for array in arrays)
        return rows, values

    @cached_property
    def row_lists(self) -> tuple[Any, Any, Any, Any]:
        """The columns that meet each row; without weights if all values have one modulus (the faster path for +-c)."""
        moduli = np.abs(self.values)
        by_sign = bool((moduli == moduli[0, 0]).all())
        starts, middles, columns, weights = row_lists(self.rows, self.values, self.dictionary.m, by_sign)
        return starts, middles, columns, None if by_sign else weights

    @property
    def nbytes(self) -> int:
        """Bytes of the columns and of what has been derived from them."""
        kept = [item for value in vars(self).values() for item in (value if isinstance(value, tuple) else (value,))]
        return sum({id(item): item.nbytes for item in kept if isinstance(item, np.ndarray)}.values())

    def derive(self, backend: str) -> None:
        """Compute what a backend needs, before threads share it: each would compute its own otherwise."""
        for name in {"tile": ("words",), "push": ("padded", "row_lists"), "gram": ("columns", "gram")}.get(backend, ()):
            getattr(self, name)

    @cached_property
    def columns(self) -> Floats:
        """The columns as a dense (n, m) array."""
        if self.rows is None:
            return self.values
        if isinstance(self.dictionary, BlockDictionary):
            dense, masked = self.parts
            return np.concatenate([dense, _spread(self.rows, masked, self.dictionary.m)])
        return _spread(self.rows, self.values, self.dictionary.m)

    @property
    def parts(self) -> tuple[Floats, Floats]:
        """Of blocks: the dense columns (r, m), and the values of the masked ones (n - r, d)."""
        assert self.rows is not None
        masked = self.values[self.values.size - self.rows.size :].reshape(self.rows.shape)
        return self.values[: self.values.size - self.rows.size].reshape(-1, self.dictionary.m), masked

    @cached_property
    def guarantees(self) -> Guarantees:
        """What is needed to prove things of single codes."""
        return Guarantees(self.dictionary)

    @cached_property
    def gram(self) -> omp_gram.Gram:
        """G = W^T W, its half-precision copy and largest off-diagonal moduli."""
        return omp_gram.new_gram(self.columns)


def _spread(rows: NDArray[np.int32], values: Floats, m: int) -> Floats:
    """Masked columns as a dense (n, m) array."""
    dense = np.zeros((len(rows), m), values.dtype)
    np.put_along_axis(dense, rows.astype(np.int64), values, axis=1)
    return dense


def _fixed(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Contiguous and read-only: numba compiles once more for arrays that may be written."""
    fixed = np.ascontiguousarray(array, dtype).view()
    fixed.flags.writeable = False
    return fixed
