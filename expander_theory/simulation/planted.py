"""Empirical recovery on one given dictionary: planted k-sparse codes as k grows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expander_theory.base import Plugin, require, require_choice, require_seed, stream
from expander_theory.dictionaries import AnyDictionary
from expander_theory.simulation.problems import COEFFICIENTS, Coefficients, sparse_code
from expander_theory.simulation.recovery import recovered
from expander_theory.simulation.tasks import solver_or_plugin
from expander_theory.solvers import Prepared
from expander_theory.statistics import wilson_interval


@dataclass(frozen=True)
class PlantedRate:
    """Share of planted k-sparse codes whose exact support the solver returns, with its 95 % Wilson interval.

    The interval is over supports and coefficients on this one dictionary.
    """

    k: int
    trials: int
    successes: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """successes / trials."""
        return self.successes / self.trials


def planted_recovery(
    dictionary: AnyDictionary,
    ks: Sequence[int],
    *,
    trials: int,
    coefficients: Coefficients = "gaussian",
    solver: Any = "omp",
    seed: int = 0,
) -> Iterator[PlantedRate]:
    """Recovery rate for each k, noiseless, uniform supports, solved in float64; computed as it is drawn.

    Args:
        dictionary: unit columns.
        ks: sparsities, each 1..min(m, n).
        trials: codes per k.
        coefficients, seed: law and seed of the codes; code t of sparsity k depends on (seed, k, t) only.
        solver: name in :data:`expander_theory.solvers.SOLVERS`, or a user's: a function
            (:class:`expander_theory.solvers.UserSolver`), or its place as text.

    Raises:
        InvalidArgument: an argument out of range.
    """
    require(trials >= 1, "trials", trials, "must be at least 1")
    require_seed(seed)
    chosen = solver_or_plugin("solver", solver)
    require_choice("coefficients", coefficients, COEFFICIENTS)
    limit = min(dictionary.m, dictionary.n)
    for k in ks:
        require(1 <= k <= limit, "k", k, f"must be between 1 and min(m, n) = {limit}")
    prepared = Prepared(dictionary, np.float64)
    return (_rate(prepared, k, trials, coefficients, chosen, seed) for k in ks)


def _rate(
    prepared: Prepared, k: int, trials: int, coefficients: Coefficients, solver: str | Plugin, seed: int
) -> PlantedRate:
    key = hashlib.sha256(f"planted codes, seed {seed}".encode()).hexdigest()
    successes = 0
    for first in range(0, trials, _AT_ONCE):
        some = range(first, min(trials, first + _AT_ONCE))
        codes = [sparse_code(prepared.dictionary.n, k, coefficients=coefficients, seed=stream(key, k, t)) for t in some]
        successes += int(recovered(prepared, np.stack(codes), k, solver).sum())
    low, high = wilson_interval(successes, trials)
    return PlantedRate(k, trials, successes, float(low), float(high))


_AT_ONCE = 1024  # codes of length n in memory
