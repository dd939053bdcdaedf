"""Claim: conditions under which OMP is exact. Phase transitions of expander masks and of dense dictionaries."""

from dataclasses import asdict
from pathlib import Path

from expander_theory.dictionaries import Ensemble
from expander_theory.masks import is_prime_power
from expander_theory.results import Ledger
from expander_theory.simulation import FixedTrials, Ladder, Success, Task, run_certificates, run_sweep
from experiments.theory.presets import PhaseGrid


def ensembles(grid: PhaseGrid) -> list[Ensemble]:
    """Masks with signs, and dense Gaussian dictionaries, at every m of the grid.

    Uniform masks of every degree; biregular and polynomial ones of one degree. A polynomial mask has d q rows for a
    prime power q: the nearest to m.
    """
    rows = list(dict.fromkeys(round(grid.n * ratio) for ratio in grid.m_over_n))
    found = [Ensemble("uniform", m, grid.n, min(d, m)) for d in grid.degrees for m in rows]
    found += [Ensemble("biregular", m, grid.n, min(grid.d, m)) for m in rows]
    orders = [q for q in range(grid.d, grid.n // grid.d + 1) if is_prime_power(q)]
    if orders:
        nearest = dict.fromkeys(min(orders, key=lambda q: abs(q * grid.d - m)) for m in rows)
        found += [Ensemble("polynomial", q * grid.d, grid.n, grid.d) for q in nearest]
    return found + [Ensemble("dense", m, grid.n, m, "gaussian") for m in rows]


def run(grid: PhaseGrid, seed: int, workers: int, folder: Path) -> None:
    """Sweep the grid, and record the k that the Babel function certifies for drawn dictionaries."""
    ladders = [
        Ladder(
            Task(ensemble, 1, success=Success(early_stop=True), seed=seed),
            tuple(dict.fromkeys(max(1, round(ensemble.m * ratio)) for ratio in grid.k_over_m)),
        )
        for ensemble in ensembles(grid)
    ]
    content = {key: value for key, value in asdict(grid).items() if key != "trials"}
    with Ledger(folder / "ledger.jsonl", {"kind": "phase transition", "seed": seed, **content}) as ledger:
        run_sweep(ladders, FixedTrials(grid.trials), ledger, workers=workers)
        run_certificates(ensembles(grid), grid.certified_draws, ledger, seed=seed)
