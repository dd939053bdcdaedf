"""What a sweep will cost, before it runs: cells, trials, time from a short calibration, disk."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass

from expander_theory.results import Record, canonical_json, to_json
from expander_theory.simulation.cells import block_record, task_record
from expander_theory.simulation.execution._dispatch import Run
from expander_theory.simulation.execution.executors import processes
from expander_theory.simulation.schedules.boundary_search import FindBoundary, FitBoundary
from expander_theory.simulation.schedules.ladders import Ladder, Schedule
from expander_theory.simulation.tasks import Task
from expander_theory.simulation.trials import Block, run_block


@dataclass(frozen=True)
class Estimate:
    """Cost of a sweep.

    Attributes:
        ladders, cells: of the grid.
        blocks, trials: at most.
        seconds: of one worker, for that many; NaN where not even the smallest cells could be timed.
        timed: cells of which a block was timed.
        disk: bytes of the ledger.
    """

    ladders: int
    cells: int
    blocks: int
    trials: int
    seconds: float
    timed: int
    disk: int


def estimate_sweep(
    ladders: Sequence[Ladder], schedule: Schedule, *, seconds: float = 5.0, run: Run = run_block
) -> Estimate:
    """Estimate from single blocks of a few cells, run in a process of their own, within about ``seconds``.

    Of each kind (family, solver, policy of dictionaries) the smallest, the largest and a middling cell are timed, small
    ones first. Between them, log(seconds per unit of work) is averaged with weights 1 / distance^2 in
    (log m, log n, log k); the unit is d n (k + 1) for a trial: k passes over a dictionary, and its drawing. Where the
    schedule bounds the trials of a ladder alone, its dearest cells are taken to get them.
    """
    tasks = [ladder.task(k) for ladder in ladders for k in ladder.ks]
    costs = _calibrate(tasks, seconds, run)
    blocks = trials = disk = 0
    total = 0.0
    for ladder in ladders:
        most, left = schedule.most(ladder), _ladder_blocks(schedule, ladder)
        priced = sorted(((_interpolated(ladder.task(k), costs), k) for k in ladder.ks), reverse=True)
        disk += sum(_size(task_record(ladder.task(k))) for k in ladder.ks)
        for cost, k in priced:
            count = min(most[k], left)
            left, blocks, total = left - count, blocks + count, total + count * cost
            disk += count * _record_size(ladder.task(k), most[k])
            trials += count * ladder.base.block_size
    return Estimate(len(ladders), len(tasks), blocks, trials, total, len(costs), disk)


def _ladder_blocks(schedule: Schedule, ladder: Ladder) -> int:
    """Blocks of a ladder at most."""
    if isinstance(schedule, FindBoundary | FitBoundary):
        return -(-schedule.max_trials // ladder.base.block_size)
    return sum(schedule.most(ladder).values())


def _record_size(task: Task, block: int) -> int:
    """Bytes of a block's record, with numbers of full length."""
    return _size(block_record(task, block, Block("1" * task.block_size, 1 / 3, 1 / 3)))


def _calibrate(tasks: Sequence[Task], seconds: float, run: Run) -> dict[Task, float]:
    """Seconds of one block, for those of the chosen tasks that the time allows."""
    kinds: dict[tuple[str, ...], list[Task]] = {}
    for task in sorted(tasks, key=_work):
        kinds.setdefault(_kind(task), []).append(task)
    chosen = {group[i] for group in kinds.values() for i in (0, len(group) // 2, len(group) - 1)}
    costs: dict[Task, float] = {}
    worker = processes(1)
    try:
        worker.submit(time.perf_counter).result()
        end = time.monotonic() + seconds
        for task in sorted(chosen, key=_work):
            compiles = all(_kind(task) != _kind(other) for other in costs)
            for _ in range(2 if compiles else 1):
                left = end - time.monotonic()
                if left > 0 and not _interpolated(task, costs) > left:
                    costs[task] = worker.submit(_seconds, run, task).result(timeout=left)
    except OutOfTime:
        pass
    finally:
        worker.shutdown(cancel_futures=True)
    return costs


def _seconds(run: Run, task: Task) -> float:
    start = time.perf_counter()
    run(task, 0)
    return time.perf_counter() - start


def _interpolated(task: Task, costs: Mapping[Task, float]) -> float:
    """Seconds of one block, from those of its own kind if there are any; NaN without costs."""
    like = {other: cost for other, cost in costs.items() if _kind(other) == _kind(task)} or costs
    if not like:
        return math.nan
    weights = {other: 1 / (1e-9 + _distance(task, other)) for other in like}
    logs = sum(weight * math.log(like[other] / _work(other)) for other, weight in weights.items())
    return _work(task) * math.exp(logs / sum(weights.values()))


def _kind(task: Task) -> tuple[str, ...]:
    return (task.ensemble.label, task.solver_label, task.dictionaries)


def _work(task: Task) -> float:
    return task.block_size * task.ensemble.d * task.ensemble.n * (task.k + 1)


def _distance(a: Task, b: Task) -> float:
    """Squared distance of sizes in logarithms."""
    pairs = ((a.ensemble.m, b.ensemble.m), (a.ensemble.n, b.ensemble.n), (a.k, b.k))
    return sum(math.log(x / y) ** 2 for x, y in pairs)


def _size(record: Record) -> int:
    return len(canonical_json(to_json(record))) + 1
