"""Each backend of our OMP on one problem: its measured rate beside what its work model allows."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expander_theory.solvers import Backend
from experiments.bench.machine import Rates
from experiments.bench.peers import Budget, ours
from experiments.bench.sizes import Problem
from experiments.bench.work import MODELS, Work

SAMPLE = 16
"""Signals whose chosen atoms the work models see."""
SECONDS = 0.3
"""Aim for a timed call, by the work model."""


@dataclass(frozen=True)
class BackendRate:
    """One backend on one problem: work, signals/s that the machine's rates allow, signals/s measured (0: not run)."""

    backend: Backend
    work: Work
    allowed: float
    measured: float


def measure_backends(problem: Problem, atoms: NDArray[np.integer], rates: Rates, budget: Budget) -> list[BackendRate]:
    """Every backend; those that set up more than the budget allows are modelled and not run.

    Args:
        atoms: chosen atoms of the first signals, in the order of selection, (batch, k).
    """
    found = []
    for backend, model in MODELS.items():
        work = model(problem, atoms[:SAMPLE])
        allowed = 1 / work.seconds(rates, problem.dtype)
        setup_seconds = work.setup_flops / rates.product[problem.dtype.name]
        affordable = work.memory <= budget.memory and setup_seconds <= budget.gram_seconds
        batch = int(np.clip(allowed * SECONDS, 1, len(problem.signals)))
        found.append(BackendRate(backend, work, allowed, _rate(problem, backend, batch) if affordable else 0.0))
    return found


def _rate(problem: Problem, backend: Backend, batch: int) -> float:
    """Signals/s of the second call, set up and compiled."""
    solve = ours(backend).start(problem)
    solve(batch)
    begun = time.process_time()
    solve(batch)
    return batch / (time.process_time() - begun)
