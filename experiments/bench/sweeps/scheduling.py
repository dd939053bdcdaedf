"""One sweep of many small cells on an executor, and what of its time is not in trials.

Workers note in files when every block begins and ends. What is left of wall time times workers, from the first block
on, is overhead: calls, pickles, the ledger, and workers that wait.
"""

from __future__ import annotations

import multiprocessing
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from expander_theory.base import ExpanderTheoryError
from expander_theory.dictionaries import Ensemble
from expander_theory.results import Ledger
from expander_theory.simulation import FixedTrials, Ladder, Task, dask_executor, run_block, run_sweep
from experiments.bench.driver import own_peak

Place = Literal["loky", "dask"]
M, D, KS = 64, 8, 20
"""Of all cells; ladders differ in n, from 2 m on."""
_STAMP = struct.Struct("<dd")


@dataclass(frozen=True)
class Overhead:
    """One sweep.

    Attributes:
        cells, blocks: how many there were.
        busy: seconds in blocks, of all workers together.
        wall: seconds from the beginning of the first block to the end of the sweep.
        share: of wall time times workers, what is not in blocks.
        peak: bytes that the driver held at most.
    """

    cells: int
    blocks: int
    busy: float
    wall: float
    share: float
    peak: int


def noted(folder: str, task: Task, block: int) -> Any:
    """Run a block and note when, in a file of this process."""
    begun = time.time()
    found = run_block(task, block)
    with Path(folder, str(os.getpid())).open("ab") as file:
        file.write(_STAMP.pack(begun, time.time()))
    return found


def ladders(cells: int) -> list[Ladder]:
    """Ladders of so many cells, in each of which n is another."""
    return [
        Ladder(Task(Ensemble("uniform", M, 2 * M + number, D), 1), tuple(range(1, KS + 1)))
        for number in range(-(-cells // KS))
    ]


@contextmanager
def _executor(where: Place, workers: int) -> Iterator[dict[str, Any]]:
    """The options of :func:`run_sweep` for an executor."""
    if where == "loky":
        yield {"workers": workers}
        return
    import distributed

    start: Any = distributed.LocalCluster  # it has an asynchronous form too

    options: Any = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0", "silence_logs": 50}
    with (
        start(n_workers=workers, **options) as cluster,
        dask_executor(cluster.scheduler_address) as (executor, threads),
    ):
        yield {"workers": threads, "executor": executor}


def overhead(where: Place, cells: int, trials: int, workers: int) -> Overhead:
    """Run one sweep in this process and measure it."""
    asked = ladders(cells)
    with TemporaryDirectory() as folder, _executor(where, workers) as options:
        notes = Path(folder, "notes")
        notes.mkdir()
        with Ledger(Path(folder, "ledger"), {"kind": "sweep"}) as ledger:
            found = run_sweep(
                asked, FixedTrials(trials), ledger, progress=False, run=partial(noted, str(notes)), **options
            )
            ended = time.time()
        stamps = [stamp for file in notes.iterdir() for stamp in _STAMP.iter_unpack(file.read_bytes())]
    busy, wall = sum(end - begin for begin, end in stamps), ended - min(begin for begin, _ in stamps)
    return Overhead(len(found), len(stamps), busy, wall, 1 - busy / (wall * workers), own_peak())


def _measure(where: Place, cells: int, trials: int, workers: int, connection: Connection) -> None:
    connection.send(overhead(where, cells, trials, workers))


def measured(where: Place, cells: int, trials: int, workers: int) -> Overhead:
    """The same in a process of its own, for its memory."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(where, cells, trials, workers, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise ExpanderTheoryError(f"the sweep on {where} failed: see above") from None
    finally:
        process.join()
