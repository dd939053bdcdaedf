"""Arguments and results of the iterative solvers, as their kernels take them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory._kernels.pursuits.atoms import Columns, Found
from expander_theory.base import InvalidArgument, require, require_int
from expander_theory.dictionaries import (
    AnyDictionary,
    DenseDictionary,
    Dictionary,
    Floats,
    checked_signals,
    without_blocks,
)
from expander_theory.solvers.recovery import (
    Recovery,
    empty_recovery,
    from_unit_range,
    require_sparsity,
    to_unit_range,
)


@dataclass(frozen=True)
class Problem:
    """Checked arguments and room for the codes.

    Attributes:
        h: (batch, m) signals in unit range, float32 or float64; everything is computed in this dtype.
        columns: the dictionary in the same dtype.
        tolerance: a residual of at most this times the signal counts as small.
    """

    h: Floats
    columns: Columns
    tolerance: float
    _exponents: NDArray[np.int32]
    _code_exponents: NDArray[np.int32]
    _out: Recovery

    @property
    def epsilon(self) -> float:
        """Machine epsilon."""
        return float(np.finfo(self.h.dtype).eps)

    @property
    def found(self) -> Found:
        """What the kernel fills."""
        out = self._out
        assert out.iterations is not None
        return Found(out.indices, out.coefficients, out.steps, out.status, out.residual_norms, out.iterations)

    def recovery(self) -> Recovery:
        """What the kernel has filled, in the scale of the signals."""
        return from_unit_range(self._out, self._exponents, self._code_exponents)

    def recovery_of(self, parts: Sequence[Found], k: int | None = None) -> Recovery:
        """What kernels have filled part by part, as wide as the widest of them, or ``k`` wide."""
        width = max((part.indices.shape[1] for part in parts), default=0) if k is None else k
        out = empty_recovery(self._out.n, len(self.h), width, self.h.dtype)
        out, first = replace(out, iterations=np.zeros(len(self.h), np.int32)), 0
        for part in parts:
            rows, size = slice(first, first + len(part.steps)), part.indices.shape[1]
            out.indices[rows, :size], out.coefficients[rows, :size] = part.indices, part.coefficients
            out.steps[rows], out.status[rows] = part.steps, part.status
            out.residual_norms[rows] = part.residuals
            assert out.iterations is not None
            out.iterations[rows] = part.iterations
            first = rows.stop
        return from_unit_range(out, self._exponents, self._code_exponents)


def checked_problem(
    dictionary: AnyDictionary, signals: ArrayLike, k: int, relative_tolerance: float | None, name="relative_tolerance"
) -> Problem:
    """The problem in the dtype of the signals; blocks are solved as dense columns.

    Args:
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.
        name: of the tolerance, in the error.

    Raises:
        InvalidArgument: bad signals, k or tolerance.
    """
    h, exponents = to_unit_range(checked_signals("signals", signals, dictionary.m))
    require_sparsity(dictionary, k)
    epsilon = float(np.finfo(h.dtype).eps)
    tolerance = 100 * epsilon if relative_tolerance is None else relative_tolerance
    require(0 <= tolerance < 1, name, relative_tolerance, "must be in [0, 1)")
    out = empty_recovery(dictionary.n, h.shape[0], int(k), h.dtype)
    out = replace(out, iterations=np.zeros(h.shape[0], np.int32))
    shift = _shift(uniform := without_blocks(dictionary))
    columns = columns_of(uniform, h.dtype, shift)
    return Problem(h, columns, float(tolerance), exponents, exponents - shift, out)


def _shift(dictionary: Dictionary | DenseDictionary) -> int:
    """The power of two that brings very large or very small columns near 1; 0 for all others."""
    exponent = int(np.frexp(np.abs(dictionary.values).max())[1])
    return exponent if abs(exponent) > _EXTREME else 0


_EXTREME = 24  # so far from 1, the values of a column and their ratios to signals fit float32 with room


def columns_of(dictionary: Dictionary | DenseDictionary, dtype: np.dtype[Any], shift: int = 0) -> Columns:
    """The arrays that kernels take, times 2^-shift."""
    if shift:
        values = np.ldexp(dictionary.values, -shift).astype(dtype)
        values.flags.writeable = False
    else:
        values = dictionary.astype(dtype).values
    return Columns(dictionary.mask.rows if isinstance(dictionary, Dictionary) else _NO_ROWS, values)


_NO_ROWS = np.empty((0, 0), np.int32)
_NO_ROWS.flags.writeable = False  # as the rows of a mask are: kernels are compiled once for both


def positive_or(name: str, value: int | None, default: int) -> int:
    """The value, an integer of at least 1, or the default if it is None."""
    if value is None:
        return default
    number = require_int(name, value)
    require(number >= 1, name, number, "must be at least 1")
    return number


def require_masked(dictionary: AnyDictionary, solver: str) -> Dictionary:
    """The dictionary, if it has a mask."""
    if not isinstance(dictionary, Dictionary):
        kind = "dense" if isinstance(dictionary, DenseDictionary) else "of blocks"
        raise InvalidArgument("dictionary", kind, f"must be masked: {solver} lets the rows of a sparse column vote")
    return dictionary
