"""The whole benchmark: measure size by size, print each table when it is ready, and keep the numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.base import require
from expander_theory.results import Ledger
from experiments.bench.backends import measure_backends
from experiments.bench.first_call import first_calls
from experiments.bench.machine import Rates, describe, measure_rates
from experiments.bench.measure import measure, warm_up
from experiments.bench.memory import method
from experiments.bench.peers import PEERS, Budget, ours, plan
from experiments.bench.sizes import Size, make_problem
from experiments.bench.table import (
    Result,
    backends_table,
    first_calls_table,
    rates_table,
    solvers_table,
    summary_table,
)

DTYPES = ("float32", "float64")
MODELLED = "float32"

Append = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        sizes: in the order of the report.
        repeats: interleaved repeats, at most.
        share: every solver gets its number of signals divided by this.
        seconds: what the repeats of one solver on one size may take.
        budget: what a solver may need.
        seed: of dictionaries and codes.
        compile_times: whether first calls are timed too, in fresh processes.
    """

    sizes: tuple[Size, ...]
    repeats: int
    share: int
    seconds: float
    budget: Budget
    seed: int
    compile_times: bool


def report(settings: Settings, out: Path | None) -> list[str]:
    """Measure, print, and append to a new ledger ``out``; the disagreements of supports that nothing explains."""
    rates = measure_rates()
    machine = describe(rates)
    print(f"{machine['processor']}\n\n{rates_table(rates)}\n")
    print(f"Signals per second of CPU time, one thread, best of {settings.repeats} or fewer. Memory: {method()}.")
    for dtype in DTYPES:
        warm_up(PEERS, dtype)
    with ledger_at(out, {"kind": "OMP benchmark", **asdict(settings), "machine": machine}) as append:
        results = [_measure(settings, size, dtype, rates, append) for size in settings.sizes for dtype in DTYPES]
        print(f"\n## Ours beside the best peer\n\n{summary_table(results)}")
        if settings.compile_times:
            runs = first_calls()
            append({"first_calls": runs})
            print(f"\n## First calls\n\n{first_calls_table(runs)}")
    return [dispute for result in results for dispute in result.disputes]


def _measure(settings: Settings, size: Size, dtype: str, rates: Rates, append: Append) -> Result:
    planned = []
    for solver in (ours(), *PEERS):
        count, remark = plan(solver, size, np.dtype(dtype), settings.budget, rates.product[dtype])
        planned.append((solver, -(-count // settings.share), remark))
    problem = make_problem(size, max(count for _, count, _ in planned), np.dtype(dtype), settings.seed)
    result = Result(size, dtype, measure(problem, planned, settings.repeats, settings.seconds))
    print(f"\n{solvers_table(result)}", flush=True)
    for timing in result.timings:
        append({"size": size.name, "dtype": dtype, **timing.record()})
    if dtype == MODELLED:
        atoms = result.timings[0].chosen
        found = measure_backends(problem, atoms, rates, settings.budget)
        print(f"\n{backends_table(found)}", flush=True)
        for one in found:
            append({"size": size.name, "dtype": dtype, **asdict(one)})
    return result


@contextlib.contextmanager
def ledger_at(path: Path | None, identity: dict[str, Any]) -> Iterator[Append]:
    """Append to a new ledger; to nothing where ``path`` is None."""
    if path is None:
        yield lambda _: None
        return
    require(not path.exists(), "out", path, "must not exist: every run has its own ledger")
    with Ledger(path, identity) as ledger:
        yield ledger.append
