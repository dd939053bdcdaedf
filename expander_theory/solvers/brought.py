"""Solvers that users bring: one function on arrays, a batch at a time."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory.base import Plugin, PluginFailed
from expander_theory.dictionaries import AnyDictionary, Dictionary, Floats
from expander_theory.solvers.recovery import Recovery, RecoveryStatus, empty_recovery, require_sparsity


class UserSolver(Protocol):
    """A solver: one function that finds sparse codes of a batch of signals."""

    def __call__(self, W: Any, signals: Floats, k: int, /) -> ArrayLike | tuple[ArrayLike, ArrayLike] | Recovery | Any:
        """Codes x with W x near the signals.

        Args:
            W: the dictionary with unit columns, (m, n): a ``scipy.sparse.csc_array`` where it is masked, else a NumPy
                array; ``W @ x`` and ``W.T @ r`` work with both. In float32 or float64, as the signals are.
            signals: (batch, m). How many come at a time differs, and must not change the codes.
            k: sparsity of the planted codes.

        Returns:
            codes (batch, n), dense or scipy.sparse; or a pair of arrays (batch, width): atoms (-1 where there are
            fewer) and their coefficients; or a :class:`Recovery`. Where a code has more than k nonzeros, the k of
            largest modulus count, ties to the lowest index.
        """
        ...


def solve_by(plugin: Plugin, dictionary: AnyDictionary, signals: Floats, k: int) -> Recovery:
    """What a user's solver finds, its k largest moduli in decreasing order.

    Args:
        plugin: a :class:`UserSolver`.
        dictionary: unit columns.
        signals: (batch, m), finite.
        k: sparsity, 1..min(m, n).

    Raises:
        InvalidArgument: k out of range.
        PluginFailed: codes of a wrong shape or kind, NaN or infinity, atoms out of range or repeated.
        Exception: whatever the function raises.
    """
    require_sparsity(dictionary, k)
    w = dictionary.to_scipy() if isinstance(dictionary, Dictionary) else dictionary.to_dense()
    returned = plugin(w, signals.copy(), int(k))
    who, batch, n = f"the solver {plugin.label}", len(signals), dictionary.n
    if isinstance(returned, Recovery):
        returned = returned.indices, returned.coefficients
    pair = isinstance(returned, tuple) and len(returned) == 2
    found = _of_pairs(who, returned, batch, n) if pair else _of_codes(who, returned, batch, n)
    atoms, values = _largest(*found, k)
    largest = np.finfo(signals.dtype).max
    if (np.abs(values) > largest).any():
        raise PluginFailed(f"{who} returned coefficients above {largest:.3g}, which {signals.dtype} does not hold")
    out = empty_recovery(n, batch, k, signals.dtype)
    used = atoms >= 0
    out.indices[:], out.coefficients[:] = atoms, values
    out.steps[:] = used.sum(axis=1)
    out.status[:] = RecoveryStatus.RETURNED
    out.residual_norms[:] = np.linalg.norm(signals - (w @ out.to_dense().T).T, axis=1)
    return out


def _of_codes(who: str, returned: Any, batch: int, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Atoms (batch, width), -1 where there are fewer, and values, of codes (batch, n)."""
    import scipy.sparse

    if scipy.sparse.issparse(returned):
        codes: Any = returned
        _require_real(who, "codes", codes.dtype)
        try:
            codes.check_format(full_check=True) if hasattr(codes, "check_format") else None
            codes = scipy.sparse.csr_array(codes).astype(np.float64)
        except ValueError as error:
            raise PluginFailed(f"{who} returned a sparse matrix that is not sound: {error}") from None
        codes.sum_duplicates()
    else:
        codes = _numbers(who, "codes", returned)
    if codes.shape != (batch, n):
        raise PluginFailed(f"{who} returned codes of shape {codes.shape}, must be (batch, n) = {(batch, n)}")
    _require_finite(who, codes.data if scipy.sparse.issparse(codes) else codes)
    codes = scipy.sparse.csr_array(codes)
    codes.eliminate_zeros()
    counts = np.diff(codes.indptr)
    width = int(counts.max(initial=0))
    atoms, values = np.full((batch, width), -1, np.int64), np.zeros((batch, width))
    used = np.arange(width) < counts[:, None]
    atoms[used], values[used] = codes.indices, codes.data
    return atoms, values


def _of_pairs(who: str, returned: Any, batch: int, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The same of a pair of arrays, checked."""
    atoms, values = np.asarray(returned[0]), _numbers(who, "coefficients", returned[1])
    if atoms.dtype.kind not in "iu":
        raise PluginFailed(f"{who} returned atoms of {atoms.dtype}, must be integers")
    if atoms.ndim != 2 or len(atoms) != batch or atoms.shape != values.shape:
        shapes = f"atoms of shape {atoms.shape} and coefficients of shape {values.shape}"
        raise PluginFailed(f"{who} returned {shapes}, must both be (batch, width) with batch = {batch}")
    outside = (atoms < -1) | (atoms >= n)
    if outside.any():
        raise PluginFailed(f"{who} returned the atom {atoms[outside][0]}, must lie in 0..{n - 1}, or be -1 for none")
    ordered = np.sort(atoms, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if repeated.any():
        raise PluginFailed(f"{who} returned the atom {ordered[:, 1:][repeated][0]} twice in one code")
    _require_finite(who, values[atoms >= 0])
    kept = (atoms >= 0) & (values != 0)
    return np.where(kept, atoms, -1).astype(np.int64), np.where(kept, values, 0)


def _numbers(who: str, what: str, values: Any) -> NDArray[np.float64]:
    array = np.asarray(values)
    _require_real(who, what, array.dtype)
    return array.astype(np.float64)


def _require_real(who: str, what: str, kind: Any) -> None:
    if kind.kind not in "biuf":
        raise PluginFailed(f"{who} returned {what} of {kind}, must be real numbers")


def _require_finite(who: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise PluginFailed(f"{who} returned NaN or infinity")


def _largest(
    atoms: NDArray[np.int64], values: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k of largest modulus, decreasing, ties to the lowest atom; filled up to k with -1 and 0."""
    missing = max(0, k - atoms.shape[1])
    atoms = np.pad(atoms, ((0, 0), (0, missing)), constant_values=-1)
    values = np.pad(values, ((0, 0), (0, missing)))
    order = np.lexsort((atoms, -np.abs(values)), axis=1)[:, :k]
    return np.take_along_axis(atoms, order, axis=1), np.take_along_axis(values, order, axis=1)
