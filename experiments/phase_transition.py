"""Claim: conditions under which OMP is exact. Phase transition of expander and dense dictionaries."""

from dataclasses import asdict
from pathlib import Path

from expander_theory.ledger import Ledger
from expander_theory.sweep import run_certificates, run_sweep
from expander_theory.trials import Ensemble, Task
from experiments.presets import PhaseGrid


def ensembles(grid: PhaseGrid) -> list[Ensemble]:
    """Uniform masks with signs, and dense Gaussian dictionaries, at every m of the grid."""
    rows = dict.fromkeys(round(grid.n * ratio) for ratio in grid.m_over_n)
    masked = [Ensemble("uniform", m, grid.n, min(grid.d, m)) for m in rows]
    return masked + [Ensemble("dense", m, grid.n, m, "gaussian") for m in rows]


def run(grid: PhaseGrid, seed: int, workers: int, folder: Path) -> None:
    """Sweep the grid, and record the k that the Babel function certifies for drawn dictionaries."""
    tasks = [
        Task(ensemble, k, seed=seed)
        for ensemble in ensembles(grid)
        for k in dict.fromkeys(max(1, round(ensemble.m * ratio)) for ratio in grid.k_over_m)
    ]
    content = {key: value for key, value in asdict(grid).items() if key != "trials"}
    with Ledger(folder / "ledger.jsonl", {"kind": "phase transition", "seed": seed, **content}) as ledger:
        run_sweep(tasks, grid.trials, ledger, worker_count=workers)
        run_certificates(ensembles(grid), grid.certified_draws, ledger, seed=seed)
