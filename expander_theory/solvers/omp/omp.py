"""Orthogonal matching pursuit."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory._kernels.omp import pursuit
from expander_theory.base import default_workers, require, require_choice, require_int
from expander_theory.dictionaries import AnyDictionary, as_dictionary, checked_signals, require_sound
from expander_theory.solvers.omp._backends import BACKENDS, SELECTIONS, Backend, resolve_backend, signals_together
from expander_theory.solvers.omp.prepared import Prepared
from expander_theory.solvers.recovery import Path, Recovery, RecoveryStatus, unit_range_scales

Selection = Literal["magnitude", "signed", "nonnegative"]


def omp(
    dictionary: AnyDictionary | Prepared | Any,
    signals: ArrayLike | Any,
    k: int | Sequence[int] | NDArray[np.integer[Any]],
    *,
    relative_tolerance: float | None = None,
    selection: Selection = "magnitude",
    preselected: ArrayLike | None = None,
    planted: ArrayLike | None = None,
    path: bool = False,
    backend: Backend = "auto",
    n_jobs: int = 1,
    certify: bool = False,
) -> Recovery:
    """Orthogonal Matching Pursuit: k greedy steps, the atom of largest |w_j^T r| / ||w_j||, then least squares on all.

    Ties go to the lowest index. A signal stops early when ||r|| <= relative_tolerance ||h||. All backends choose the
    same atoms, up to ties within rounding. Source: Pati et al. 1993; recovery conditions in THEORY.md OMP-1 to OMP-7.

    Args:
        dictionary: a dictionary, or a NumPy or scipy.sparse (m, n) matrix, or a :class:`Prepared` one, which keeps what
            the backends derive from it (row lists, the Gram matrix) from call to call. Columns need not have unit norm:
            coefficients are those of the columns as given.
        signals: (batch, m) or (m,), floating or scipy.sparse; float32 signals are solved in float32, all others in
            float64.
        k: sparsity, 1..min(m, n); one for all signals or one for each.
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.
        selection: "magnitude"; "signed" takes the largest positive w_j^T r / ||w_j|| and stops if there is none;
            "nonnegative" selects in the same way and solves the least squares under x >= 0 (Bruckstein, Elad and
            Zibulevsky 2008), by the plain backend only.
        preselected: atoms to begin with, in this order: (p,) for all signals, or (batch, p) with -1 after the last.
            They count among the k.
        planted: (batch, q) supports, -1 where shorter: a signal stops with FIRST_MISS as soon as an atom outside its
            support is chosen (the atom is not added), because exact recovery has then failed.
        path: keep coefficients and residual norm after every step, in :attr:`Recovery.path`.
        backend: how it is computed: "tile" (masked or of blocks), "push" (masked), "product" (dense), "gram" or
            "plain"; "auto" takes the cheapest by ``work_estimate`` of the backends. A signal's result does not depend
            on the rest of its batch, except for the rounding errors of matrix products in "gram" and "product".
        n_jobs: threads; -1 for all processors. The result does not depend on it.
        certify: say of each code what is proved, in :attr:`Recovery.proofs`: whether its support is what OMP must find
            for any coefficients on it, and whether it is the only code so sparse. Costs k n d operations a signal
            (dense: k n m), ten to twenty times what the fast backends take to find the code, and once for a dictionary
            its largest inner products (kept by a :class:`Prepared` one). For selection by magnitude.

    Raises:
        InvalidArgument: an argument out of range.
    """
    given_dictionary = dictionary.dictionary if isinstance(dictionary, Prepared) else as_dictionary(dictionary)
    h = checked_signals("signals", dense_signals(signals), given_dictionary.m)
    prepared = dictionary if isinstance(dictionary, Prepared) else Prepared(given_dictionary, h.dtype)
    require(prepared.dtype == h.dtype, "signals", f"array of {h.dtype}", f"must be {prepared.dtype}, as was prepared")
    batch, n = len(h), given_dictionary.n
    ks = _sparsities(k, batch, min(given_dictionary.m, n))
    most = int(np.max(k, initial=1))
    require_choice("selection", selection, SELECTIONS)
    allowed = "must be False unless atoms are selected by magnitude, which ERC is about"
    require(not certify or selection == "magnitude", "certify", certify, allowed)
    epsilon = float(np.finfo(h.dtype).eps)
    tolerance = 100 * epsilon if relative_tolerance is None else relative_tolerance
    require(0 <= tolerance < 1, "relative_tolerance", relative_tolerance, "must be in [0, 1)")
    first = _atoms("preselected", preselected, batch, n)
    chosen = (first >= 0).sum(axis=1)
    require(bool((chosen <= ks).all()), "preselected", f"up to {chosen.max(initial=0)} atoms", "must be at most k")
    rule = pursuit.Rule(float(tolerance), float(10 * most * epsilon), selection == "signed")
    given = h
    h, scales, exponents = unit_range_scales(h)
    h = h.view()
    h.flags.writeable = False  # kernels are compiled for arrays that may not be written
    task = pursuit.Signals(h, scales, ks, first, _atoms("planted", planted, batch, n))
    found = _empty(batch, most, h.dtype, path)
    name = resolve_backend(backend, given_dictionary, batch, most, h.dtype, selection)
    run = BACKENDS[name]
    parts = _parts(batch, signals_together(name, h.dtype), n_jobs)
    if len(parts) == 1:
        run(prepared, task, rule, found, selection)
    else:
        prepared.derive(name)
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda p: run(prepared, _rows(task, p), rule, _rows(found, p), selection), parts))
    recovery = _recovery(found, n, exponents, prepared.norms)
    if not certify:
        return recovery
    exact = (recovery.status == RecoveryStatus.RESIDUAL_SMALL) & (recovery.relative_errors(given) <= 100 * epsilon)
    proofs = prepared.guarantees.of(recovery.indices, recovery.steps, exact)
    return replace(recovery, proofs=proofs)


def _sparsities(k: Any, batch: int, limit: int) -> NDArray[np.int32]:
    """k of each signal."""
    given = np.asarray(k)
    allowed = f"must be an integer between 1 and min(m, n) = {limit}, or one for each of the {batch} signals"
    valid = np.issubdtype(given.dtype, np.integer) and given.shape in ((), (batch,))
    require(bool(valid and given.size == ((given >= 1) & (given <= limit)).sum()), "k", k, allowed)
    return np.array(np.broadcast_to(given, (batch,)), np.int32)


def _atoms(name: str, atoms: ArrayLike | None, batch: int, n: int) -> NDArray[np.int32]:
    """Atoms of each signal, (batch, p), -1 after the last; different."""
    if atoms is None:
        return np.empty((batch, 0), np.int32)
    given = np.asarray(atoms)
    given = given.astype(np.int64) if given.size == 0 else given
    require(np.issubdtype(given.dtype, np.integer), name, f"array of {given.dtype}", "must be integers")
    wide = given.ndim == 1 or (given.ndim == 2 and len(given) == batch)
    require(wide, name, f"array of shape {given.shape}", f"must have shape (p,) or ({batch}, p)")
    full = np.broadcast_to(np.atleast_2d(given), (batch, given.shape[-1]))
    inside = (full >= -1) & (full < n)
    require(bool(inside.all()), name, full[~inside][:1].tolist(), f"must lie in 0..{n - 1}, or be -1 for none")
    full = -np.sort(-full, axis=1) if name == "planted" else full
    gaps = (full[:, :-1] < 0) & (full[:, 1:] >= 0)
    require(not gaps.any(), name, "an atom after -1", "must have -1 only after the last atom")
    ordered = np.sort(full, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    require(not repeated.any(), name, ordered[:, 1:][repeated][:1].tolist(), "must not repeat an atom")
    return np.array(full, np.int32, order="C")  # a copy may be written, which is what kernels are compiled for


def dense_signals(signals: Any) -> Any:
    """scipy.sparse signals as an array, others as they are."""
    import scipy.sparse

    return require_sound("signals", signals).toarray() if scipy.sparse.issparse(signals) else signals


def _empty(batch: int, k: int, dtype: np.dtype[Any], path: bool) -> pursuit.Found:
    steps = (batch, k) if path else (0, 0)
    return pursuit.Found(
        np.full((batch, k), -1, np.int32), np.zeros((batch, k), dtype), np.zeros(batch, np.int32),
        np.zeros(batch, np.int8), np.zeros(batch, dtype), np.zeros((*steps, k if path else 0), dtype),
        np.zeros(steps, dtype),
    )  # fmt: skip


def _parts(batch: int, together: int, n_jobs: int) -> list[slice]:
    """Whole groups of signals that are computed together, one part a thread."""
    jobs = require_int("n_jobs", n_jobs)
    require(jobs == -1 or jobs >= 1, "n_jobs", n_jobs, "must be at least 1, or -1 for all processors")
    jobs = default_workers() if jobs == -1 else jobs
    groups = -(-batch // together)
    size = together * max(1, -(-groups // jobs))
    return [slice(first, first + size) for first in range(0, batch, size)] or [slice(0, 0)]


def _rows(arrays: Any, part: slice) -> Any:
    """Some rows of every array; empty paths stay as they are."""
    return type(arrays)(*(array[part] if len(array) else array for array in arrays))


def _recovery(found: pursuit.Found, n: int, exponents: NDArray[np.int32], norms: Any) -> Recovery:
    """In the scale of the signals and columns as given."""
    scale = exponents[:, None]
    # Mantissas and exponents of the norms; padding gets any column's, and stays 0.
    parts = None if norms is None else [part[found.indices] for part in np.frexp(norms)]
    coefficients = _divided(found.coefficients, parts, scale)
    path = None
    if found.residual_path.size:
        wide = None if parts is None else [part[:, None, :] for part in parts]
        path = Path(_divided(found.coefficient_path, wide, scale[:, :, None]), np.ldexp(found.residual_path, scale))
    residuals = np.ldexp(found.residuals, exponents)
    return Recovery(n, found.indices, coefficients, found.steps, found.status, residuals, path=path)


def _divided(values: Any, norms: Any, exponents: Any) -> Any:
    """values 2^exponents / norms in the dtype of values: neither factor need fit it alone."""
    if norms is None:
        return np.ldexp(values, exponents)
    mantissas, shifts = norms
    return np.ldexp(values / mantissas, exponents - shifts).astype(values.dtype)
