"""What every solver returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory._kernels.omp import pursuit as kernel
from expander_theory.base import optional_module, require
from expander_theory.dictionaries import AnyDictionary, Floats

if TYPE_CHECKING:
    import pandas
    import scipy.sparse


class RecoveryStatus(IntEnum):
    """Why a solver stopped on one signal."""

    SPARSITY_REACHED = kernel.SPARSITY_REACHED
    RESIDUAL_SMALL = kernel.RESIDUAL_SMALL
    DEPENDENT_ATOM = kernel.DEPENDENT_ATOM
    NO_CORRELATION = kernel.NO_CORRELATION
    FIRST_MISS = kernel.FIRST_MISS
    SUPPORT_STABLE = 5
    ITERATION_LIMIT = 6
    NO_UPDATE = 7
    OPTIMAL = 8
    FAILED = 9
    RETURNED = 10

    @property
    def explanation(self) -> str:
        return {
            RecoveryStatus.SPARSITY_REACHED: "k atoms were chosen",
            RecoveryStatus.RESIDUAL_SMALL: "the residual fell to the tolerance with at most k atoms",
            RecoveryStatus.DEPENDENT_ATOM: "the next atom lies in the span of those chosen: no k-sparse code improves "
            "on this one by a greedy step",
            RecoveryStatus.NO_CORRELATION: "every atom left is orthogonal to the residual: no atom explains more of it",
            RecoveryStatus.FIRST_MISS: "an atom outside the planted support was chosen: exact recovery has failed",
            RecoveryStatus.SUPPORT_STABLE: "the support no longer changes: a fixed point of the iteration",
            RecoveryStatus.ITERATION_LIMIT: "the limit of iterations was reached: allow more, or try another solver",
            RecoveryStatus.NO_UPDATE: "no column passes the test for an update: more rows must agree than do",
            RecoveryStatus.OPTIMAL: "the programme was solved to optimality",
            RecoveryStatus.FAILED: "the solver gave up on this signal: its code is zero",
            RecoveryStatus.RETURNED: "a user's function returned this code and says no more",
        }[self]


@dataclass(frozen=True, eq=False)
class Path:
    """What a greedy solver had after each step.

    Attributes:
        coefficients: (batch, k, k); ``[b, t, :t + 1]`` are those of atoms ``indices[b, :t + 1]``, zero beyond.
        residual_norms: (batch, k); 0 after the last step.
    """

    coefficients: Floats
    residual_norms: Floats


@dataclass(frozen=True, eq=False)
class CodeProofs:
    """What is proved of each code that OMP has found, whatever else is not known.

    Attributes:
        support: bool (batch,): ERC(S) < 1 for the support S of the code, so that OMP must find S in the signal of every
            code on S, whatever its coefficients (THEORY.md OMP-1).
        unique: bool (batch,): the residual is rounding error, and the code is the only one of the signal that it
            reproduces with so few nonzeros (THEORY.md IDN-4; IDN-5 for its support).
        erc_low: float64 (batch,), a lower bound of ERC(S) that holds in spite of rounding.
        erc_high: float64 (batch,), an upper bound; infinite where W_S may be rank deficient.
    """

    support: NDArray[np.bool_]
    unique: NDArray[np.bool_]
    erc_low: NDArray[np.float64]
    erc_high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recovery:
    """Codes of a batch of signals.

    Attributes:
        n: length of a code.
        indices: int32 (batch, k), atoms in the order of selection, -1 where fewer were chosen.
        coefficients: (batch, k), in the dtype of the computation, 0 where fewer were chosen.
        steps: int32 (batch,), atoms in the code.
        status: int8 (batch,), a :class:`RecoveryStatus` per signal.
        residual_norms: (batch,), ||h - W x||_2.
        iterations: int32 (batch,), iterations of an iterative solver; None where each adds one atom.
        path: of a solver that was asked for it.
        proofs: what is proved of each code, of OMP that was asked for it.
    """

    n: int
    indices: NDArray[np.int32]
    coefficients: Floats
    steps: NDArray[np.int32]
    status: NDArray[np.int8]
    residual_norms: Floats
    iterations: NDArray[np.int32] | None = None
    path: Path | None = None
    proofs: CodeProofs | None = None

    @property
    def supports(self) -> NDArray[np.int32]:
        """The chosen atoms of each signal, increasing; -1 (first) where fewer than k were chosen."""
        return np.sort(self.indices, axis=1)

    def relative_errors(self, signals: ArrayLike) -> NDArray[np.floating[Any]]:
        """||h - W x||_2 / ||h||_2 of each signal, (batch,); 0 for a signal of zeros.

        Args:
            signals: (batch, m) or (m,), those that were solved. Their squares may overflow or vanish.
        """
        h = np.atleast_2d(np.asarray(signals))
        scale = np.abs(h).max(axis=1)
        scale[scale == 0] = 1
        return self.residual_norms / scale / np.maximum(np.linalg.norm(h / scale[:, None], axis=1), 1)

    def to_scipy(self) -> scipy.sparse.csr_array:
        """The codes as a (batch, n) ``scipy.sparse.csr_array``.

        Raises:
            InvalidArgument: steps outside 0..k, or an index among them outside 0..n-1 (of a recovery made by hand).
        """
        import scipy.sparse

        batch, k = self.indices.shape
        counted = self.steps.shape == (batch,) and bool(((self.steps >= 0) & (self.steps <= k)).all())
        require(counted, "steps", self.steps, f"must be {batch} numbers in 0..k = {k}")
        used = np.arange(k) < self.steps[:, None]
        outside = used & ((self.indices < 0) | (self.indices >= self.n))
        require(not outside.any(), "indices", self.indices[outside][:1].tolist(), f"must lie in 0..{self.n - 1}")
        starts = np.concatenate([[0], np.cumsum(self.steps)])
        matrix = scipy.sparse.csr_array((self.coefficients[used], self.indices[used], starts), shape=(batch, self.n))
        matrix.sort_indices()
        return matrix

    def to_csc(self) -> scipy.sparse.csc_array:
        """The codes as a (batch, n) ``scipy.sparse.csc_array``."""
        return self.to_scipy().tocsc()

    def to_dense(self) -> Floats:
        """The codes as a (batch, n) array."""
        return self.to_scipy().toarray()

    def to_dataframe(self) -> pandas.DataFrame:
        """The codes as a ``pandas.DataFrame``, one row an atom; signals whose code is zero have no row.

        Columns: ``signal``: its number in the batch, from 0; ``step``: place of the atom in the order of selection,
        from 0; ``atom``: column of the dictionary, from 0; ``coefficient``: of the atom, in the units of the signal;
        and for the whole signal, repeated: ``status``: why the solver stopped, the name of a :class:`RecoveryStatus`;
        ``residual_norm``: ||h - W x||_2, in the units of the signal.

        Raises:
            MissingResource: pandas is not installed.
        """
        frames = optional_module("pandas", extra="frames", what="a data frame")
        signal, step = np.nonzero(np.arange(self.indices.shape[1]) < self.steps[:, None])
        stopped = np.array([RecoveryStatus(status).name for status in self.status], object)
        return frames.DataFrame(
            {
                "signal": signal,
                "step": step,
                "atom": self.indices[signal, step],
                "coefficient": self.coefficients[signal, step],
                "status": stopped[signal],
                "residual_norm": self.residual_norms[signal],
            }
        )


def to_unit_range(h: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Each signal times the power of two that brings its largest modulus into [1/2, 1), exactly.

    Squares of very large or very small signals would overflow or vanish otherwise.

    Returns:
        the scaled signals, and the exponents (batch, 1) that :func:`from_unit_range` takes.
    """
    exponents = np.frexp(np.abs(h).max(axis=1, keepdims=True))[1]
    return np.ldexp(h, -exponents), exponents


def unit_range_scales(h: Floats) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Scales for the unit range without a copy: signals, powers of two (batch,), and their exponents (batch,).

    Signals so large or small that the factor itself would overflow or vanish are scaled here, with factor 1.
    """
    moduli = np.maximum(h.max(axis=1, initial=0), -h.min(axis=1, initial=0))
    exponents = np.frexp(moduli)[1]
    limit = np.finfo(h.dtype).maxexp - 3
    extreme = np.abs(exponents) > limit
    if extreme.any():
        h = np.ldexp(h, np.where(extreme, -exponents, 0)[:, None])
    return h, np.ldexp(h.dtype.type(1), np.where(extreme, 0, -exponents)), exponents


def from_unit_range(
    found: Recovery, exponents: NDArray[np.int32], of_codes: NDArray[np.int32] | None = None
) -> Recovery:
    """The recovery of the signals before :func:`to_unit_range`; codes have exponents of their own where columns were
    scaled too."""
    found.coefficients[:] = np.ldexp(found.coefficients, exponents if of_codes is None else of_codes)
    found.residual_norms[:] = np.ldexp(found.residual_norms, exponents[:, 0])
    return found


def empty_recovery(n: int, batch: int, k: int, dtype: np.dtype[Any]) -> Recovery:
    """A recovery of no atoms, for kernels to fill."""
    return Recovery(
        n,
        np.full((batch, k), -1, np.int32),
        np.zeros((batch, k), dtype),
        np.zeros(batch, np.int32),
        np.zeros(batch, np.int8),
        np.zeros(batch, dtype),
    )


def require_sparsity(dictionary: AnyDictionary, k: int) -> None:
    """k must be an integer between 1 and m: more than m atoms are always dependent."""
    limit = min(dictionary.m, dictionary.n)
    require(
        isinstance(k, int | np.integer) and 1 <= k <= limit,
        "k",
        k,
        f"must be an integer between 1 and min(m, n) = {limit}",
    )


def require_unit_columns(dictionary: AnyDictionary) -> None:
    """Selection by correlation is only fair between columns of equal norm (THEORY.md, H.7)."""
    deviation = float(np.abs(dictionary.column_norms - 1).max())
    require(
        deviation <= 1e-4,
        "dictionary",
        f"has a column of norm 1 {'+' if dictionary.column_norms.max() > 1 else '-'} {deviation:.3g}",
        "must have unit-l2 columns: use dictionary.normalised()",
    )
