"""``expander sweep``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
    n: int | None = None
    """Columns, for a grid in (m/n, k/m); default 512."""
    m_over_n: tuple[float, ...] = ()
    """Undersampling ratios, default 0.1, 0.2, ..., 0.9; m is n times this, rounded (polynomial: to the nearest
    d q with q a prime power)."""
    k_over_m: tuple[float, ...] = ()
    """Sparsity ratios, default 0.05, 0.1, ..., 0.6; k is m times this, rounded, at least 1."""
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
        from expander_theory.trials import Task

        require(len(self.family) > 0, "family", "none", "must name at least one")
        require(self.trials >= 1, "trials", self.trials, "must be at least 1")
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "must be at least 1")
        require(self.certified_draws >= 0, "certified-draws", self.certified_draws, "must be at least 0")
        cells = [(self._ensemble(family, m, n), k) for family in self.family for m, n, k in self._cells(family)]
        tasks = [
            Task(ensemble, k, self.coefficients, self.solver, self.signals_per_dictionary, self.seed)
            for ensemble, k in dict.fromkeys(cells)
        ]
        identity = {
            "kind": "sweep",
            "tasks": _digest([task.id for task in tasks]),
            **{name: getattr(self, name) for name in self.__dataclass_fields__ if name not in _FREE},
        }
        count = default_workers() if self.workers is None else self.workers
        with Ledger(self.out / "ledger.jsonl", identity) as ledger:
            counted = run_sweep(tasks, self.trials, ledger, worker_count=count)
            run_certificates([task.ensemble for task in tasks], self.certified_draws, ledger, seed=self.seed)
        rows = cell_rows(counted)
        if len(rows) <= _SHOWN:
            print(f"Success rates, with 95 % Wilson intervals\n\n{table(rows)}")
        fitted = boundaries(counted)
        if fitted:
            print(f"\nFitted 50 % boundary in k/m (logistic, Firth-penalised; 95 % interval)\n\n{table(fitted)}")
        print(f"\nrates of {len(rows)} cells: {write_csv(self.out / 'cells.csv', rows)}")
        print(f"ledger: {ledger.path}\nto draw the phase diagram: expander figures {self.out}")

    def _cells(self, family: str) -> list[tuple[int, int, int]]:
        if self.m is not None:
            require(bool(self.ns) and bool(self.ks), "m", self.m, "goes with --ns and --ks")
            for name in ("n", "m_over_n", "k_over_m"):
                given = getattr(self, name)
                require(not given, name.replace("_", "-"), given, "does not go with --m")
            return [(self.m, n, k) for n in self.ns for k in self.ks]
        require(not self.ns and not self.ks, "ns, ks", (*self.ns, *self.ks), "go with --m")
        for name in ("m_over_n", "k_over_m"):
            for ratio in getattr(self, name):
                require(0 < ratio <= 1, name.replace("_", "-"), ratio, "must be in (0, 1]")
        n = 512 if self.n is None else self.n
        require(n >= 1, "n", n, "must be at least 1")
        rows = [self._rows(family, n * ratio) for ratio in self.m_over_n or _ratios(0.1, 9)]
        sparsities = self.k_over_m or _ratios(0.05, 12)
        return [(m, n, max(1, round(m * ratio))) for m in rows for ratio in sparsities]

    def _rows(self, family: str, m: float) -> int:
        """The m nearest to the one asked for that the family has."""
        if family != "polynomial":
            return max(1, round(m))
        from expander_theory.masks.algebraic import is_prime_power

        fields = [q for q in range(max(2, self.d - 1), 2 * round(m / self.d) + self.d + 3) if is_prime_power(q)]
        return self.d * min(fields, key=lambda q: abs(q * self.d - m))

    def _ensemble(self, family: str, m: int, n: int) -> Any:
        from expander_theory.trials import Ensemble

        if family == "dense":
            return Ensemble(family, m, n, m, "gaussian")
        return Ensemble(family, m, n, self.d, self.values, self.flatness)


def _ratios(step: float, count: int) -> tuple[float, ...]:
    return tuple(round(step * (i + 1), 6) for i in range(count))


_SHOWN = 40  # cells that fit a screen

_FREE = ("out", "trials", "workers", "certified_draws")


def _digest(ids: list[str]) -> str:
    import hashlib

    return hashlib.sha256("".join(ids).encode()).hexdigest()[:16]
