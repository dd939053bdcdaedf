"""The one engine of recovery: codes are planted, a solver gets their signals, and what it finds is compared.

Sweeps, ``expander recover`` and ``expander sae recovery`` differ in what they plant and count, and share this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.sampling.planted import combine, compare
from expander_theory.base import Plugin, Seed, require
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, DenseDictionary, Dictionary, Floats
from expander_theory.simulation.brought import success_by
from expander_theory.simulation.problems import Noise, PlantedCodes
from expander_theory.simulation.tasks import Success
from expander_theory.solvers import SOLVERS, Prepared, Recovery, choose_backend, omp, solve_by

Solve = Callable[[Prepared, Floats, PlantedCodes], Recovery]
"""A solver of a prepared dictionary's signals; the planted codes are for a solver that stops once it misses them."""

LARGEST_ERROR = 1e6
"""Relative code errors count as at most this: a solver that diverged leaves the mean finite."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a solver found of a batch of planted codes.

    Attributes:
        k: atoms of each planted code.
        hits: int64 (batch,), how many of them are in the solver's support.
        errors: float64 (batch,), ||x' - x||_2 / ||x||_2 of the solver's code x', at most :data:`LARGEST_ERROR`.
        met: bool (batch,), whether a user's criterion counts it as recovered; empty where there is none.
    """

    k: int
    hits: NDArray[np.int64]
    errors: NDArray[np.float64]
    met: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))

    def successes(self, criterion: Success) -> NDArray[np.bool_]:
        """Which codes count as recovered, (batch,).

        A solver's support has at most k atoms, so it is the planted one where it has k of these.
        """
        if criterion.measure == "user":
            return self.met
        if criterion.measure == "support":
            return self.hits == self.k
        if criterion.measure == "fraction":
            return self.hits / self.k >= criterion.threshold
        return self.errors <= criterion.threshold


def recover_planted(
    prepared: Prepared,
    codes: PlantedCodes,
    solve: Solve,
    *,
    noise: Noise | None = None,
    seed: Seed = 0,
    criterion: Plugin | None = None,
) -> Outcomes:
    """Solve the signals W x of planted codes, and compare with x what is found.

    Args:
        prepared: the dictionary; signals are formed in float64 and solved in its precision.
        codes: what is planted.
        solve: see :func:`solver_named`.
        noise: on the signals; default: none.
        seed: of the noise; a generator goes on where it stands.
        criterion: a user's criterion of success, asked about every code.

    Raises:
        InvalidArgument: codes that do not fit the dictionary, or a solver that does not take them.
        PluginFailed: a user's function returned what its protocol does not allow.
    """
    signals = signals_of(prepared.dictionary, codes)
    if noise is not None:
        signals = noise.add(signals, seed=seed)
    found = solve(prepared, signals.astype(prepared.dtype, copy=False), codes)
    batch, k = codes.supports.shape
    hits, errors = np.empty(batch, np.int64), np.empty(batch)
    place = np.full(prepared.dictionary.n, -1, np.int32)
    compare(codes.supports, codes.values, found.indices, found.coefficients, place, LARGEST_ERROR, hits, errors)
    if criterion is None:
        return Outcomes(k, hits, errors)
    planted = np.zeros((batch, prepared.dictionary.n))
    np.put_along_axis(planted, codes.supports.astype(np.int64), codes.values, axis=1)
    return Outcomes(k, hits, errors, success_by(criterion, planted, found.to_dense().astype(np.float64)))


def solver_named(name: str | Plugin, *, early_stop: bool = False) -> Solve:
    """A solver of :data:`expander_theory.solvers.SOLVERS`, or a user's, asked for as many atoms as were planted.

    Args:
        early_stop: let "omp" end at the first atom outside the planted support.
    """
    return partial(_solve, name, early_stop)


def _solve(name: str | Plugin, early_stop: bool, prepared: Prepared, signals: Floats, codes: PlantedCodes) -> Recovery:
    k = codes.supports.shape[1]
    if isinstance(name, Plugin):
        return solve_by(name, prepared.dictionary, signals, k)
    if name == "omp":
        # Another backend would round differently: that of results of this KERNEL_VERSION stays until it is raised.
        backend = choose_backend(prepared.dictionary, len(signals), k, prepared.dtype, spilling=False)
        return omp(prepared, signals, k, planted=codes.supports if early_stop else None, backend=backend)
    return SOLVERS[name](prepared.dictionary, signals, k)


def recovered(
    dictionary: AnyDictionary | Prepared, codes: Floats, k: int, solver: str | Plugin = "omp"
) -> NDArray[np.bool_]:
    """Whether the solver finds exactly the support of each k-sparse code from W x, without noise.

    Args:
        dictionary: solved in float64, or in the precision for which it has been prepared.
        codes: (batch, n), each with k nonzeros.
        solver: name in :data:`expander_theory.solvers.SOLVERS`, or a user's.

    Returns:
        bool (batch,).
    """
    supports = np.sort(np.argpartition(-np.abs(codes), k - 1, axis=1)[:, :k], axis=1)
    values = np.take_along_axis(codes, supports, axis=1).astype(np.float64)
    planted = PlantedCodes(supports.astype(np.int32), values)
    prepared = dictionary if isinstance(dictionary, Prepared) else Prepared(dictionary, np.float64)
    return recover_planted(prepared, planted, solver_named(solver)).successes(Success())


def signals_of(dictionary: AnyDictionary, codes: PlantedCodes) -> NDArray[np.float64]:
    """W x of planted codes, (batch, m), in float64 whatever the dictionary's dtype; O(k d) a code on a mask,
    O(k m) dense or of blocks.

    Raises:
        InvalidArgument: supports and values of different shapes, or a column that the dictionary has not.
    """
    supports = codes.supports
    paired = supports.ndim == 2 and supports.shape == codes.values.shape
    require(paired, "codes", f"of shapes {supports.shape}, {codes.values.shape}", "must be two (batch, k) arrays")
    inside = supports.size == 0 or (supports.min() >= 0 and supports.max() < dictionary.n)
    require(bool(inside), "codes.supports", "array with a column out of range", f"must lie in 0..{dictionary.n - 1}")
    out = np.zeros((len(codes.supports), dictionary.m))
    if isinstance(dictionary, BlockDictionary):
        first = supports < dictionary.r
        for part, own, offset in ((dictionary.dense, first, 0), (dictionary.masked, ~first, dictionary.r)):
            _add(part, np.where(own, supports - offset, 0), np.where(own, codes.values, 0), out)
    else:
        _add(dictionary, supports, codes.values, out)
    return out


def _add(dictionary: Dictionary | DenseDictionary, supports: Any, values: Any, out: NDArray[np.float64]) -> None:
    """out += W x."""
    rows = dictionary.mask.rows if isinstance(dictionary, Dictionary) else np.empty((0, 0), np.int32)
    combine(rows, dictionary.values, supports, values, out)
