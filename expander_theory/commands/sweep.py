"""``expander sweep``."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from expander_theory.commands.output import table, write_csv
from expander_theory.errors import require


@dataclass(frozen=True)
class Sweep:
    """Recovery rates over a grid of cells, into a ledger that a second run resumes.

    Either give --n with --m-over-n and --k-over-m, or --m with --ns and --ks.
    """

    out: tyro.conf.Positional[Path]
    """Results folder; one that holds another experiment is refused."""
    family: tuple[Literal["uniform", "polynomial", "dense"], ...] = ("uniform", "dense")
    """Dictionaries: uniform or polynomial masks, or dense Gaussian."""
    values: Literal["signs", "gaussian", "flat"] = "signs"
    """Values on the masks."""
    flatness: float = 0.0
    """Column flatness C for --values flat, between 1 and sqrt(d)."""
    d: int = 8
    """Left degree of the masks."""
    n: int = 512
    """Columns, for a grid in (m/n, k/m)."""
    m_over_n: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Undersampling ratios; m is n times this, rounded (polynomial: to a multiple of d)."""
    k_over_m: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
    """Sparsity ratios; k is m times this, rounded, at least 1."""
    m: int | None = None
    """Rows, for a grid in (n, k)."""
    ns: tuple[int, ...] = ()
    """Columns, with --m."""
    ks: tuple[int, ...] = ()
    """Sparsities, with --m."""
    trials: int = 50
    """Trials per cell. A later run with more trials adds to the same ledger."""
    coefficients: Literal["gaussian", "signs", "uniform"] = "gaussian"
    """Law of the planted nonzeros."""
    solver: Literal["omp", "topk"] = "omp"
    """Solver."""
    certified_draws: int = 5
    """Dictionaries per size whose Babel-certified k is recorded, for the line in the figure; 0 for none."""
    signals_per_dictionary: int = 1
    """Consecutive trials that share a dictionary; above 1 they are not independent, and the intervals are too short."""
    seed: int = 0
    """Seed of everything."""
    workers: int | None = None
    """Worker processes (default: the processors at hand). The counts do not depend on it."""

    def run(self) -> None:
        from expander_theory.cells import boundaries, cell_rows
        from expander_theory.executors import default_workers
        from expander_theory.ledger import Ledger
        from expander_theory.sweep import run_certificates, run_sweep
        from expander_theory.trials import Ensemble, Task

        tasks = [
            Task(ensemble, k, self.coefficients, self.solver, self.signals_per_dictionary, self.seed)
            for family in self.family
            for m, n, k in self._cells(family)
            for ensemble in [self._ensemble(Ensemble, family, m, n)]
        ]
        identity = {
            "kind": "sweep",
            "tasks": _digest([task.id for task in tasks]),
            **{name: getattr(self, name) for name in self.__dataclass_fields__ if name not in _FREE},
        }
        count = default_workers() if self.workers is None else self.workers
        with Ledger(self.out / "ledger.jsonl", identity) as ledger:
            cells = run_sweep(tasks, self.trials, ledger, worker_count=count)
            run_certificates([task.ensemble for task in tasks], self.certified_draws, ledger, seed=self.seed)
        rows = cell_rows(cells)
        if len(rows) <= _SHOWN:
            print(f"Success rates, with 95 % Wilson intervals\n\n{table(rows)}")
        fitted = boundaries(cells)
        if fitted:
            print(f"\nFitted 50 % boundary in k/m (logistic, Firth-penalised; 95 % interval)\n\n{table(fitted)}")
        print(f"\nrates of {len(rows)} cells: {write_csv(self.out / 'cells.csv', rows)}")
        print(f"ledger: {ledger.path}\nto draw the phase diagram: expander figures {self.out}")

    def _cells(self, family: str) -> list[tuple[int, int, int]]:
        if self.m is not None:
            require(bool(self.ns) and bool(self.ks), "m", self.m, "goes with --ns and --ks")
            return [(self.m, n, k) for n in self.ns for k in self.ks]
        require(not self.ns and not self.ks, "ns, ks", (*self.ns, *self.ks), "go with --m")
        for name in ("m_over_n", "k_over_m"):
            for ratio in getattr(self, name):
                require(0 < ratio <= 1 and math.isfinite(ratio), name.replace("_", "-"), ratio, "must be in (0, 1]")
        unit = self.d if family == "polynomial" else 1
        rows = dict.fromkeys(max(unit, unit * round(self.n * ratio / unit)) for ratio in self.m_over_n)
        return [(m, self.n, k) for m in rows for k in dict.fromkeys(max(1, round(m * r)) for r in self.k_over_m)]

    def _ensemble(self, make, family: str, m: int, n: int):
        if family == "dense":
            return make(family, m, n, m, "gaussian")
        return make(family, m, n, self.d, self.values, self.flatness)


_SHOWN = 40  # cells that fit a screen

_FREE = ("out", "trials", "workers", "certified_draws")


def _digest(ids: list[str]) -> str:
    import hashlib

    return hashlib.sha256("".join(ids).encode()).hexdigest()[:16]
