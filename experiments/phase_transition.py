"""Claim: conditions under which OMP is exact. Phase transition of expander and dense dictionaries."""

from dataclasses import asdict
from pathlib import Path

from expander_theory.geometry import babel_certified_k
from expander_theory.ledger import Ledger
from expander_theory.progress import progress_bar
from expander_theory.sweep import run_sweep
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
        _certify(grid, seed, ledger)


def _certify(grid: PhaseGrid, seed: int, ledger: Ledger) -> None:
    done = {(r["family"], r["m"], r["draw"]) for r in ledger.records if "certified_k" in r}
    cases = [(e, draw) for e in ensembles(grid) for draw in range(grid.certified_draws)]
    for ensemble, draw in progress_bar(cases, unit="dictionary", desc="certify"):
        if (ensemble.family, ensemble.m, draw) not in done:
            k = babel_certified_k(Task(ensemble, 1, seed=seed).dictionary(draw))
            ledger.append({**asdict(ensemble), "draw": draw, "certified_k": k})
