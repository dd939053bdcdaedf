"""Claim: adaptive trials place the phase boundary at a fraction of a fixed grid's cost. Boundary of expander masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from expander_theory.base import derived_seed, require
from expander_theory.dictionaries import Ensemble
from expander_theory.results import Ledger
from expander_theory.simulation import (
    FindBoundary,
    FitBoundary,
    FixedTrials,
    Ladder,
    Success,
    Task,
    run_block,
    run_sweep,
)
from experiments.theory.stopwatch import timed


@dataclass(frozen=True)
class Scale:
    """One scale: uniform masks with signs at m/n = 1/columns, 2/columns, ..., 1."""

    n: int
    d: int
    columns: int
    resolution: float
    """Wanted of the 50 % boundary, in k/m."""
    max_trials: int
    """Trials of a ladder at most."""
    rows: int
    """Of the fixed grid: k/m = 1/rows, 2/rows, ..., 1."""
    trials: int
    """In each cell of the fixed grid."""


SCALES = {
    "quick": Scale(n=256, d=8, columns=10, resolution=0.02, max_trials=4000, rows=20, trials=50),
    "full": Scale(n=1024, d=8, columns=40, resolution=0.005, max_trials=20_000, rows=40, trials=100),
}
SCHEDULES = {"fit": FitBoundary, "bracket": FindBoundary}


def run(scale: Scale, method: str, seed: int, workers: int, folder: Path, *, fixed: bool) -> None:
    """Search the boundary, and run the fixed grid on instances of its own, each timed."""
    require(workers >= 1, "workers", workers, "must be at least 1")
    fixed_seed = derived_seed(seed, "fixed grid")
    searched = [Ladder(_task(scale, m, seed), tuple(range(1, m + 1))) for m in _rows(scale)]
    grid = [Ladder(_task(scale, m, fixed_seed), _fixed_ks(scale, m)) for m in _rows(scale)]
    identity = {"kind": "phase boundary", "method": method, "seed": seed, "fixed_seed": fixed_seed, **asdict(scale)}
    schedule = SCHEDULES[method](scale.resolution, scale.max_trials)
    with Ledger(folder / "ledger.jsonl", identity) as ledger:
        _compile(grid)
        with timed(ledger, "search", workers):
            run_sweep(searched, schedule, ledger, workers=workers)
        if fixed:
            with timed(ledger, "fixed grid", workers):
                run_sweep(grid, FixedTrials(scale.trials), ledger, workers=workers)


def _task(scale: Scale, m: int, seed: int) -> Task:
    return Task(Ensemble("uniform", m, scale.n, min(scale.d, m)), 1, success=Success(early_stop=True), seed=seed)


def _rows(scale: Scale) -> list[int]:
    return [max(1, round(scale.n * i / scale.columns)) for i in range(1, scale.columns + 1)]


def _fixed_ks(scale: Scale, m: int) -> tuple[int, ...]:
    """Of a ladder with few rows, neighbouring k/m share a k."""
    return tuple(dict.fromkeys(max(1, round(m * j / scale.rows)) for j in range(1, scale.rows + 1)))


def _compile(ladders: Sequence[Ladder]) -> None:
    """Leave compiled kernels of all sizes on disk, so that no part's time includes their compilation."""
    for ladder in {ladders[0], ladders[len(ladders) // 2], ladders[-1]}:
        for k in {ladder.ks[0], ladder.ks[len(ladder.ks) // 4], ladder.ks[-1]}:
            run_block(ladder.task(k), 0)
