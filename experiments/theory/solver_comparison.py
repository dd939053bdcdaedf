"""OMP against other solvers on the same instances (THEORY.md STAT-2), over k, for codes of two laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from expander_theory.base import require
from expander_theory.dictionaries import Ensemble
from expander_theory.results import Ledger
from expander_theory.simulation import CodeLaw, FixedTrials, Ladder, Task, run_sweep, solver_or_plugin

FIRST = "omp"


@dataclass(frozen=True)
class Scale:
    """One scale: uniform masks with signs, a fresh one for every trial."""

    m: int
    n: int
    d: int
    ks: tuple[int, ...]
    laws: tuple[str, ...]
    """Of the codes. Spread-out magnitudes help greedy solvers; equal ones do not."""
    against: tuple[str, ...]
    trials: int


_GREEDY = ("topk", "matching-pursuit", "gomp", "cosamp", "niht")

SCALES = {
    "quick": Scale(128, 512, 8, tuple(range(4, 41, 4)), ("gaussian", "signs"), (*_GREEDY, "basis-pursuit"), trials=100),
    "full": Scale(256, 1024, 8, tuple(range(8, 81, 8)), ("gaussian", "signs"), _GREEDY, trials=400),
}


def run(scale: Scale, against: Sequence[str], trials: int, seed: int, workers: int, folder: Path) -> None:
    """Bring OMP and the other solvers to so many trials a cell."""
    require(workers >= 1, "workers", workers, "must be at least 1")
    ensemble = Ensemble("uniform", scale.m, scale.n, scale.d)
    solvers = dict.fromkeys(solver_or_plugin("against", name) for name in (FIRST, *against))
    ladders = [
        Ladder(Task(ensemble, scale.ks[0], codes=CodeLaw(law), solver=solver, seed=seed), scale.ks)
        for law in scale.laws
        for solver in solvers
    ]
    content = {key: value for key, value in asdict(scale).items() if key not in ("against", "trials")}
    with Ledger(folder / "ledger.jsonl", {"kind": "solver comparison", "seed": seed, **content}) as ledger:
        run_sweep(ladders, FixedTrials(trials), ledger, workers=workers)
