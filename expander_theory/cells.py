"""Counts of a sweep, read back from its ledger's records: the one place that knows their format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from expander_theory.statistics import fit_boundary, wilson_interval
from expander_theory.trials import Ensemble, Task


@dataclass(frozen=True)
class Cell:
    """Counts of one task."""

    task: Task
    trials: int
    successes: int


def as_record(task: Task, first: int, outcome: str) -> dict[str, Any]:
    """The ledger record of trials first, first + 1, ...: one character of ``outcome`` a trial."""
    content = asdict(task)
    return {"task": task.id, **content.pop("ensemble"), **content, "first": first, "outcome": outcome}


def outcomes(records: Iterable[dict[str, Any]]) -> dict[str, dict[int, bool]]:
    """Success of every recorded trial, by task id and trial index."""
    found: dict[str, dict[int, bool]] = defaultdict(dict)
    for record in records:
        if "task" in record:
            for offset, character in enumerate(record["outcome"]):
                found[record["task"]][record["first"] + offset] = character == "1"
    return found


def count(task: Task, outcome: dict[int, bool], trials: int | None = None) -> Cell:
    """A task's counts over its first ``trials`` trials, or all."""
    kept = [success for trial, success in outcome.items() if trials is None or trial < trials]
    return Cell(task, len(kept), sum(kept))


def cells(records: Sequence[dict[str, Any]]) -> list[Cell]:
    """Counts of every task that a ledger's records hold, in order of first appearance."""
    tasks = {record["task"]: record for record in reversed(records) if "task" in record}
    return [count(_task(tasks[id]), outcome) for id, outcome in outcomes(records).items()]


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
    """The fitted 50 % point in k/m of tasks that differ in k alone, where there are two sparsities or more."""
    groups: dict[Task, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.trials:
            groups[replace(cell.task, k=1)].append(cell)
    rows = []
    for task, group in groups.items():
        e = task.ensemble
        if len({cell.task.k for cell in group}) < 2:
            continue
        fit = fit_boundary(
            [cell.task.k / e.m for cell in group], [cell.successes for cell in group], [cell.trials for cell in group]
        )
        numbers = {"k/m at 50 %": fit.centre, "low": fit.low, "high": fit.high, "status": fit.status}
        rows.append({"family": e.family, "values": e.values, "d": e.d, "m": e.m, "n": e.n, **numbers})
    return rows


def _task(record: dict[str, Any]) -> Task:
    ensemble = {name: record[name] for name in Ensemble.__dataclass_fields__}
    rest = {name: record[name] for name in Task.__dataclass_fields__ if name != "ensemble"}
    return Task(Ensemble(**ensemble), **rest)
