"""The tables of the benchmark, and its verdict."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from experiments.bench.backends import BackendRate
from experiments.bench.machine import Rates
from experiments.bench.sizes import Size
from experiments.bench.timing import Timing

HEADERS = (
    *("solver", "batch", "signals/s", "median", "with set-up", "set-up s", "peak MB", "supports agree"),
    *("ours/peer", "with set-up"),
)


@dataclass(frozen=True)
class Result:
    """All solvers on one size in one dtype; ours comes first."""

    size: Size
    dtype: str
    timings: list[Timing]

    def best(self, kind: str, packages: bool = True) -> Timing | None:
        """The fastest peer without ("bare") or with ("whole") set-up, among packages or among the references here."""
        run = [timing for timing in self.timings[1:] if timing.batch and bool(timing.solver.package) == packages]
        return max(run, key=lambda timing: timing.rate(kind), default=None)

    def ratio(self, peer: Timing, kind: str) -> float:
        """Our rate over a peer's."""
        return self.timings[0].rate(kind) / peer.rate(kind)

    @property
    def disputes(self) -> list[str]:
        """Disagreements without a near-tie in which ours is wrong, or in which scikit-learn is in float64."""
        found = []
        for timing in self.timings:
            trusted = timing.solver.package == "sklearn" and self.dtype == "float64"
            blamed = timing.ours_wrong + (timing.theirs_wrong if trusted else 0)
            if blamed:
                found.append(f"{self.size.name} {self.dtype}: {timing.solver.name}, {blamed} of {timing.compared}")
        return found


def solvers_table(result: Result) -> str:
    """One row per solver."""
    rows, remarks = [], []
    for timing in result.timings:
        if timing.remark:
            remarks.append(f"{timing.solver.name}: {timing.remark}")
        if timing.batch:
            rows.append(_row(result, timing))
    title = f"{result.size.text}, {result.dtype}"
    return "\n".join([title, "", markdown(rows, HEADERS), *[f"\n{remark}" for remark in remarks]])


def _row(result: Result, timing: Timing) -> list[str]:
    rates = [timing.rate(), timing.rate(pick=statistics.median), timing.rate("whole")]
    reasons = [f"{timing.excused} near-ties"] if timing.excused else []
    reasons += [f"{timing.theirs_wrong} it errs"] if timing.theirs_wrong else []
    reasons += [f"{timing.ours_wrong} OURS ERRS"] if timing.ours_wrong else []
    reasons += [] if timing.solver.same_rule else ["another rule"]
    agree = f"{timing.equal}/{timing.compared}" + (f" ({', '.join(reasons)})" if reasons else "")
    ratios = [f"{result.ratio(timing, kind):.1f}" if timing is not result.timings[0] else "" for kind in _KINDS]
    numbers = [f"{timing.setup_seconds:.2f}", f"{timing.peak / 1e6:.0f}"]
    return [timing.solver.name, str(timing.batch), *map(_rate, rates), *numbers, agree, *ratios]


_KINDS = ("bare", "whole")


def summary_table(results: Sequence[Result]) -> str:
    """Per size and dtype: our ratio to the best package and to the best short reference, and the goal.

    The goal is for the ratio to the best package without set-up.
    """
    rows = []
    for result in results:
        peers = [(result.best("bare"), "bare"), (result.best("whole"), "whole"), (result.best("bare", False), "bare")]
        row = [result.size.text, result.dtype, _rate(result.timings[0].rate())]
        for peer, kind in peers:
            row += [f"{peer.solver.name} {_rate(peer.rate(kind))}" if peer else "none ran"]
            row += [f"{result.ratio(peer, kind):.1f}" if peer else ""]
        goal, package = result.size.goal, peers[0][0]
        verdict = "" if package is None else "reached" if result.ratio(package, "bare") > goal else "missed"
        rows.append([*row, f"> {goal:g}", verdict])
    peers = ("best package", "ratio", "with set-up", "ratio", "best short reference", "ratio")
    return markdown(rows, ("size", "dtype", "ours", *peers, "goal", ""))


def backends_table(found: Sequence[BackendRate]) -> str:
    """Per backend: work for one signal, the signals/s that it would take at the machine's rates, and those measured.

    A guide and no bound: kernels that load wider vectors than the measuring loop read faster than it.
    """
    rows = []
    for one in found:
        measured = [_rate(one.measured), f"{100 * one.measured / one.allowed:.0f} %"] if one.measured else ["", ""]
        rows.append([one.backend, one.work.text, _rate(one.allowed), *measured])
    return markdown(rows, ("backend", "work for one signal", "signals/s at these rates", "measured", "share"))


def rates_table(rates: Rates) -> str:
    """The machine's measured rates."""
    names = ("L1", "L2", "L3", "memory")
    rows = [[f"read, {name}", f"{rate / 1e9:.0f} GB/s"] for name, rate in zip(names, rates.read, strict=True)]
    rows += [["scattered updates, L2", f"{rates.scatter / 1e9:.2f} G/s"]]
    rows += [["scalar loads, L1", f"{rates.gather / 1e9:.2f} G/s"]]
    rows += [[f"matrix product, {dtype}", f"{rate / 1e9:.0f} Gflop/s"] for dtype, rate in rates.product.items()]
    return markdown(rows, ("one core", "rate"))


def first_calls_table(runs: Sequence[dict[str, float]]) -> str:
    """CPU seconds of first calls, compiled and from the cache."""
    rows = [[name, *(f"{run[name]:.2f}" for run in runs)] for name in runs[0]]
    rows.append(["all", *(f"{np.sum(list(run.values())):.2f}" for run in runs)])
    return markdown(rows, ("first call", "compiled, s", "from the cache, s"))


def _rate(rate: float) -> str:
    return f"{rate:.3g}" if rate < 1000 else f"{rate:,.0f}"


def markdown(rows: list[list[str]], headers: Sequence[str]) -> str:
    """A Markdown table of ready text."""
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
