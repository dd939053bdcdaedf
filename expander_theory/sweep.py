"""Run tasks for N trials each, into a ledger that a later run resumes."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import asdict, dataclass
from typing import Any

from expander_theory.errors import require
from expander_theory.executors import workers
from expander_theory.ledger import Ledger
from expander_theory.progress import progress_bar
from expander_theory.statistics import fit_boundary, wilson_interval
from expander_theory.trials import Ensemble, Task, run_trials


@dataclass(frozen=True)
class Cell:
    """Counts of one task."""

    task: Task
    trials: int
    successes: int


@dataclass(frozen=True)
class _Piece:
    task: Task
    first: int
    count: int


def run_sweep(
    tasks: Sequence[Task], trials: int, ledger: Ledger, *, worker_count: int = 1, chunk: int = 25, progress: bool = True
) -> list[Cell]:
    """Bring every task to ``trials`` trials and return the counts.

    Trials that the (open) ledger holds already are not run again. The counts depend on the tasks
    and ``trials`` only: not on workers, chunks or interruptions.

    Args:
        trials: per task, at least 1.
        ledger: an open ledger; each finished chunk is one record.
        worker_count: processes.
        chunk: trials per record, the unit of scheduling.
        progress: show a progress bar on standard error.

    Raises:
        InvalidArgument: trials, chunk or worker_count below 1.
    """
    require(trials >= 1, "trials", trials, "must be at least 1")
    require(chunk >= 1, "chunk", chunk, "must be at least 1")
    outcomes = _stored_outcomes(ledger.records)
    pieces = [piece for task in tasks for piece in _missing(task, outcomes[task.id], trials, chunk)]
    left = sum(piece.count for piece in pieces)
    total = trials * len(tasks)
    bar = progress_bar(total=total, initial=total - left, unit="trial", desc="sweep", show=progress)
    with bar, workers(worker_count) as executor:
        for piece, outcome in _completed(executor, pieces, 1 if worker_count == 1 else 4 * worker_count):
            ledger.append({"task": piece.task.id, **_named(piece.task), "first": piece.first, "outcome": outcome})
            bar.update(piece.count)
    outcomes = _stored_outcomes(ledger.records)
    return [_cell(task, outcomes[task.id], trials) for task in tasks]


def cells(records: Sequence[dict[str, Any]]) -> list[Cell]:
    """Counts of every task that a ledger's records hold, in order of first appearance."""
    tasks = {record["task"]: record for record in reversed(records) if "task" in record}
    outcomes = _stored_outcomes(records)
    return [_cell(_task(tasks[id]), outcome) for id, outcome in outcomes.items()]


def cell_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Cells as rows of a table: sizes, counts, rate and its 95 % Wilson interval."""
    rows = []
    for cell in cells:
        low, high = wilson_interval(cell.successes, cell.trials)
        e = cell.task.ensemble
        counts = {"successes": cell.successes, "trials": cell.trials, "rate": cell.successes / max(1, cell.trials)}
        sizes = {"family": e.family, "values": e.values, "d": e.d, "m": e.m, "n": e.n, "k": cell.task.k}
        rows.append({**sizes, **counts, "low": float(low), "high": float(high)})
    return rows


def boundaries(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The fitted 50 % point in k/m of every ensemble that was tried at two sparsities or more."""
    by_ensemble: dict[Ensemble, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.trials:
            by_ensemble[cell.task.ensemble].append(cell)
    rows = []
    for e, group in by_ensemble.items():
        if len({cell.task.k for cell in group}) < 2:
            continue
        fit = fit_boundary(
            [cell.task.k / e.m for cell in group], [cell.successes for cell in group], [cell.trials for cell in group]
        )
        numbers = {"k/m at 50 %": fit.centre, "low": fit.low, "high": fit.high, "status": fit.status}
        rows.append({"family": e.family, "values": e.values, "d": e.d, "m": e.m, "n": e.n, **numbers})
    return rows


def _completed(executor: Executor, pieces: Iterable[_Piece], ahead: int) -> Iterator[tuple[_Piece, str]]:
    """Results as they come, with at most ``ahead`` pieces submitted at a time."""
    waiting = iter(pieces)
    running = {}
    while True:
        for piece in itertools.islice(waiting, ahead - len(running)):
            running[executor.submit(run_trials, piece.task, piece.first, piece.count)] = piece
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future.result()


def _missing(task: Task, outcome: dict[int, bool], trials: int, chunk: int) -> Iterator[_Piece]:
    first = 0
    while first < trials:
        if first in outcome:
            first += 1
            continue
        end = first
        limit = min(trials, (first // chunk + 1) * chunk)
        while end < limit and end not in outcome:
            end += 1
        yield _Piece(task, first, end - first)
        first = end


def _stored_outcomes(records: Iterable[dict[str, Any]]) -> dict[str, dict[int, bool]]:
    outcomes: dict[str, dict[int, bool]] = defaultdict(dict)
    for record in records:
        if "task" in record:
            for offset, character in enumerate(record["outcome"]):
                outcomes[record["task"]][record["first"] + offset] = character == "1"
    return outcomes


def _cell(task: Task, outcome: dict[int, bool], trials: int | None = None) -> Cell:
    kept = [success for trial, success in outcome.items() if trials is None or trial < trials]
    return Cell(task, len(kept), sum(kept))


def _named(task: Task) -> dict[str, Any]:
    content = asdict(task)
    return {**content.pop("ensemble"), **content}


def _task(record: dict[str, Any]) -> Task:
    ensemble = {name: record[name] for name in Ensemble.__dataclass_fields__}
    rest = {name: record[name] for name in Task.__dataclass_fields__ if name != "ensemble"}
    return Task(Ensemble(**ensemble), **rest)
