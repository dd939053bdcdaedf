"""Claim: the fastest OMP for masked dictionaries on a CPU. Ours beside every peer, on one thread.

``python -m experiments.bench.omp`` prints Markdown tables; it exits with code 1 where supports disagree and no
near-tie explains it. Times are CPU times, so that a busy machine counts less.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

if __name__ == "__main__":
    for library in ("OMP", "OPENBLAS", "MKL", "VECLIB", "NUMEXPR", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # read when NumPy and the peers are imported

import numpy as np

from expander_theory.base import require
from experiments.bench import table
from experiments.bench.agreement import Agreement, Judge
from experiments.bench.command import Benchmark, Case, Record, main, measured_in
from experiments.bench.driver import MEMORY, Measured, measure, peak_bytes
from experiments.bench.first_call import first_calls, first_calls_table
from experiments.bench.machine import Rates, describe, headline, measure_rates, rates_table
from experiments.bench.omp_peers import SOLVERS, Solver, plan, warm_up
from experiments.bench.omp_work import BackendRate, backends_table, measure_backends
from experiments.bench.sizes import SIZES, make_problem

SizeName = Literal["A", "B", "C", "D", "E", "d7", "d30", "d100", "d200"]
QUICK: tuple[SizeName, ...] = ("A", "B", "d100")
QUICK_SHARE = 8
DTYPES = ("float32", "float64")
MODELLED = "float32"
Pick = Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class OMPBenchmark(Benchmark):
    """Time OMP beside its peers: scikit-learn, SPAMS, orthogonal-matching-pursuit-gpu and two short references."""

    title = "OMP benchmark"
    sizes: tuple[SizeName, ...] = ()
    """Only these (default: all; with --quick A, B and d100)."""
    quick: bool = False
    """One repeat, an eighth of the signals, no compile times: not to be quoted."""
    memory: float = 3.0
    """GiB that a solver may need."""

    @property
    def identity(self) -> Record:
        return {**super().identity, "quick": self.quick, "memory": self.memory, "machine": describe()}

    def check(self) -> None:
        super().check()
        require(self.memory > 0, "memory", self.memory, "must be above 0")

    def cases(self) -> list[Case]:
        rates = measure_rates()
        print(f"{headline()}\n\n{rates_table(rates)}\n")
        print(f"Signals per second of CPU time, one thread, best of {self._turns}. Memory: {MEMORY}.")
        for dtype in DTYPES:
            warm_up(dtype)
        names = self.sizes or (QUICK if self.quick else tuple(SIZES))
        keys = [{"size": name, "dtype": dtype} for name in names for dtype in DTYPES]
        found = [Case(key, lambda key=key: self._measure(**key, rates=rates)) for key in keys]
        return found if self.quick else [*found, Case({"size": "first calls"}, _first_calls)]

    @property
    def _turns(self) -> int:
        return 1 if self.quick else self.repeats

    def _measure(self, size: str, dtype: str, rates: Rates) -> Record:
        shape, remarks, batches = SIZES[size], [], {}
        for name, solver in SOLVERS.items():
            count, remark = plan(solver, shape, np.dtype(dtype), self.memory * 2**30)
            remarks += [f"{name}: {remark}"] if remark else []
            if count:
                batches[name] = -(-count // QUICK_SHARE) if self.quick else count
        problem = make_problem(shape, max(batches.values()), np.dtype(dtype), self.seed)
        contenders = [
            SOLVERS[name].contender(problem, batch, SOLVERS[name].key in shape.once) for name, batch in batches.items()
        ]
        measured, answers = measure(contenders, self._turns, peak=peak_bytes)
        (ours, atoms), *others = answers.items()
        judge = Judge(problem.dictionary, problem.signals, problem.k)
        agreement = {ours: judge.alone(atoms)}
        agreement |= {name: judge.between(atoms, found, SOLVERS[name].same_rule) for name, found in others}
        backends = []
        if dtype == MODELLED:
            backends = measure_backends(problem, atoms, rates, self.memory * 2**30, self._turns)
        return {
            "measured": [asdict(one) for one in measured],
            "agreement": {name: asdict(one) for name, one in agreement.items()},
            "remarks": remarks,
            "backends": [asdict(one) for one in backends],
            "rates": asdict(rates),
            "faults": [fault for name, one in agreement.items() if (fault := _fault(size, dtype, name, one))],
        }

    def show(self, record: Record) -> str:
        if "first_calls" in record:
            return f"## First calls\n\n{first_calls_table(record['first_calls'])}"
        backends = [BackendRate(**one) for one in record["backends"]]
        return Result.of(record).table + (f"\n\n{backends_table(backends)}" if backends else "")

    def closing(self, records: list[Record]) -> str:
        results = [Result.of(record) for record in records if record["measured"]]
        return f"\n## Ours beside the best peer\n\n{summary_table(results)}\n"


def _first_calls() -> Record:
    return {"first_calls": first_calls(), "measured": [], "faults": []}


def _fault(size: str, dtype: str, name: str, agreement: Agreement) -> str:
    """A disagreement without a near-tie in which ours is wrong, or in which scikit-learn is in float64."""
    trusted = SOLVERS[name].package == "sklearn" and dtype == "float64"
    blamed = agreement.ours_wrong + (agreement.theirs_wrong if trusted else 0)
    return f"{size} {dtype}: {name}, {blamed} of {agreement.compared}" if blamed else ""


@dataclass(frozen=True)
class Timed:
    """One solver on one problem: what was measured, with the set-up apart."""

    solver: Solver
    measured: Measured
    agreement: Agreement

    def seconds(self, kind: str = "bare", pick: Pick = min) -> float:
        """CPU seconds of a call, the best (min) or statistics.median of the repeats.

        Args:
            kind: "whole", or "bare": without set-up. A hidden set-up is taken out by the slope between two batches.
        """
        spent, batch = self.measured.seconds, self.measured.batch
        if kind == "bare" and "again" in spent:
            return pick(spent["again"])
        if kind == "bare" and "fewer" in spent:
            slope = (pick(spent["whole"]) - pick(spent["fewer"])) / (batch - self.solver.gram_signals)
            return slope * batch if slope > 0 else pick(spent["whole"])
        return pick(spent["whole"])

    def rate(self, kind: str = "bare", pick: Pick = min) -> float:
        """Signals per CPU-second."""
        return self.measured.batch / self.seconds(kind, pick)

    @property
    def setup_seconds(self) -> float:
        """Best time with set-up minus best time without; 0 where noise makes it negative."""
        return max(0.0, self.seconds("whole") - self.seconds())


@dataclass(frozen=True)
class Result:
    """All solvers on one size in one dtype; ours comes first."""

    size: str
    dtype: str
    remarks: list[str]
    timed: list[Timed]

    @classmethod
    def of(cls, record: Record) -> Result:
        """From a record of the ledger."""
        agreements = record["agreement"]
        timed = [Timed(SOLVERS[one.name], one, Agreement(**agreements[one.name])) for one in measured_in(record)]
        return cls(record["size"], record["dtype"], record["remarks"], timed)

    def best(self, kind: str, packages: bool = True) -> Timed | None:
        """The fastest peer without ("bare") or with ("whole") set-up, among packages or among the references here."""
        run = [one for one in self.timed[1:] if bool(one.solver.package) == packages]
        return max(run, key=lambda one: one.rate(kind), default=None)

    def ratio(self, peer: Timed, kind: str) -> float:
        """Our rate over a peer's."""
        return self.timed[0].rate(kind) / peer.rate(kind)

    @property
    def title(self) -> str:
        """Size and dtype."""
        return f"{SIZES[self.size].text}, {self.dtype}"

    @property
    def table(self) -> str:
        """One row per solver."""
        headers = ("solver", "batch", "signals/s", "median (IQR)", "with set-up", "set-up s", "peak MB")
        headers += ("supports agree", "ours/peer", "with set-up")
        rows = [self._row(one) for one in self.timed]
        return "\n".join([self.title, "", table.markdown(rows, headers), *[f"\n{remark}" for remark in self.remarks]])

    def _row(self, one: Timed) -> list[str]:
        part = "again" if "again" in one.measured.seconds else "whole"
        median = table.rate(one.rate(pick=statistics.median)) + table.spread(one.measured, part)
        numbers = [table.rate(one.rate()), median, table.rate(one.rate("whole")), f"{one.setup_seconds:.2f}"]
        agree = one.agreement.text + ("" if one.solver.same_rule else " (another rule)")
        peers = one is not self.timed[0]
        ratios = [f"{self.ratio(one, kind):.1f}" if peers else "" for kind in ("bare", "whole")]
        return [one.solver.name, table.batch(one.measured), *numbers, table.peak(one.measured), agree, *ratios]


def summary_table(results: Sequence[Result]) -> str:
    """Per size and dtype: our ratio to the best package and to the best short reference, and the goal.

    The goal is for the ratios to both, without set-up.
    """
    rows = []
    for result in results:
        peers = [(result.best("bare"), "bare"), (result.best("whole"), "whole"), (result.best("bare", False), "bare")]
        row: list[Any] = [result.title, table.rate(result.timed[0].rate())]
        for peer, kind in peers:
            row += [f"{peer.solver.name} {table.rate(peer.rate(kind))}" if peer else "none ran"]
            row += [f"{result.ratio(peer, kind):.1f}" if peer else ""]
        goal, ran = SIZES[result.size].goal, [peer for peer in (peers[0][0], peers[2][0]) if peer]
        reached = all(result.ratio(peer, "bare") > goal for peer in ran)
        verdict = "" if not ran else "reached" if reached else "missed"
        rows.append([*row, f"> {goal:g}", verdict])
    peers = ("best package", "ratio", "with set-up", "ratio", "best short reference", "ratio")
    return table.markdown(rows, ("size", "ours", *peers, "goal", ""))


if __name__ == "__main__":
    main(OMPBenchmark)
