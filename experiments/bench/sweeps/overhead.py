"""What scheduling adds to a sweep of many small cells. ``python -m experiments.bench.sweeps.overhead``.

The same sweep runs on loky's processes and on a dask cluster of this machine, each in a process of its own; see
:mod:`experiments.bench.sweeps.scheduling`. The driver's memory is its peak, imports included.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import tyro

from expander_theory.base import ExpanderTheoryError, require
from experiments.bench.machine import headline
from experiments.bench.sweeps.scheduling import KS, D, M, Place, measured
from experiments.bench.table import markdown


@dataclass(frozen=True)
class OverheadBenchmark:
    """Measure what scheduling adds to the time of trials."""

    cells: tuple[int, ...] = (1000, 10_000)
    """Cells of a sweep, rounded up to whole ladders of 20."""
    trials: int = 25
    """Of a cell."""
    workers: int = 2
    """Processes of one thread each."""
    where: tuple[Place, ...] = ("loky", "dask")
    """Executors."""


def main(asked: OverheadBenchmark) -> None:
    """Print the table."""
    for name in ("trials", "workers"):
        require(getattr(asked, name) >= 1, name, getattr(asked, name), "must be at least 1")
    print(f"{headline()}; m = {M}, d = {D}, k = 1..{KS}, {asked.trials} trials a cell, {asked.workers} workers\n")
    rows = []
    for where in asked.where:
        for cells in asked.cells:
            require(cells >= 1, "cells", cells, "must be at least 1")
            one = measured(where, cells, asked.trials, asked.workers)
            times = f"{one.busy:.1f}", f"{one.wall:.1f}", f"{1e3 * one.busy / one.blocks:.2f}"
            rows.append([where, f"{one.cells:,}", *times, f"{one.share:.1%}", f"{one.peak / 1e6:,.0f}"])
    headers = ("executor", "cells", "trials, s", "wall, s", "ms a block", "overhead", "driver's peak, MB")
    print(markdown(rows, headers))


if __name__ == "__main__":
    try:
        main(tyro.cli(OverheadBenchmark))
    except ExpanderTheoryError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
