"""Claim: conditions under which OMP is exact. Phase transition of expander and dense dictionaries."""

from dataclasses import asdict
from pathlib import Path

from expander_theory.ledger import Ledger
from expander_theory.schedule import Column, FixedTrials
from expander_theory.sweep import run_certificates, run_sweep
from expander_theory.trials import Ensemble, Success, Task
from experiments.presets import PhaseGrid


def ensembles(grid: PhaseGrid) -> list[Ensemble]:
    """Uniform masks with signs, and dense Gaussian dictionaries, at every m of the grid."""
    rows = dict.fromkeys(round(grid.n * ratio) for ratio in grid.m_over_n)
    masked = [Ensemble("uniform", m, grid.n, min(grid.d, m)) for m in rows]
    return masked + [Ensemble("dense", m, grid.n, m, "gaussian") for m in rows]


def run(grid: PhaseGrid, seed: int, workers: int, folder: Path) -> None:
    """Sweep the grid, and record the k that the Babel function certifies for drawn dictionaries."""
    columns = [
        Column(
            Task(ensemble, 1, success=Success(early_stop=True), seed=seed),
            tuple(dict.fromkeys(max(1, round(ensemble.m * ratio)) for ratio in grid.k_over_m)),
        )
        for ensemble in ensembles(grid)
    ]
    content = {key: value for key, value in asdict(grid).items() if key != "trials"}
    with Ledger(folder / "ledger.jsonl", {"kind": "phase transition", "seed": seed, **content}) as ledger:
        run_sweep(columns, FixedTrials(grid.trials), ledger, workers=workers)
        run_certificates(ensembles(grid), grid.certified_draws, ledger, seed=seed)
