"""Bring every ladder of a grid to what a schedule wants of it, into a ledger that a later run resumes."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from expander_theory.base import InvalidFile, SweepBar, derived_seed, progress_bar, require
from expander_theory.dictionaries import Ensemble, babel_certified_k
from expander_theory.results import BlockRecord, CertificateRecord, FailureRecord, Ledger
from expander_theory.simulation.cells import (
    Cell,
    block_record,
    blocks_of,
    cells,
    failure_record,
    require_whole,
    task_record,
    tasks_of,
)
from expander_theory.simulation.execution._dispatch import Answer, Dispatcher, Failure, Piece, Run
from expander_theory.simulation.execution.executors import open_workers
from expander_theory.simulation.execution.rounds import Rounds, Work
from expander_theory.simulation.schedules.ladders import Ladder, Schedule
from expander_theory.simulation.tasks import Task
from expander_theory.simulation.trials import run_block


class QuarantineWarning(UserWarning):
    """Blocks failed again and again: their ladders are not complete."""


def _warn(summary: str) -> None:
    warnings.warn(QuarantineWarning(summary), stacklevel=3)


def run_sweep(
    ladders: Sequence[Ladder],
    schedule: Schedule,
    ledger: Ledger,
    *,
    executor: Executor | Callable[[], Executor] | None = None,
    workers: int = 1,
    retries: int = 2,
    progress: bool = True,
    run: Run = run_block,
    report: Callable[[str], None] = _warn,
) -> list[Cell]:
    """Run what the schedule wants of every ladder, and return the counts, one cell a task that it asked for.

    The schedule is shown the first blocks of each task, those it asked for before, and says how many it wants in
    all; missing ones are run, and it is asked again, until it wants no more. Blocks that the (open) ledger holds are
    not run again. So counts depend on the ladders and the schedule only: not on workers, executors, order,
    interruptions, or what else the ledger holds.

    A block that fails (raises, or kills its worker) is tried again; after ``retries`` further attempts it is
    quarantined: recorded as a failure and left out. Its ladder completes the blocks asked for together with it and
    stops there, the others go on; at the end all are reported. A later run tries again.

    Args:
        ladders: without a task in common; equal ladders count once.
        schedule: e.g. :class:`expander_theory.simulation.FixedTrials`.
        ledger: an open ledger; each finished block is one record.
        executor: where blocks run, see :func:`expander_theory.simulation.open_workers`; default: on this machine.
        workers: processes of one thread each, 1 for this process; with ``executor``, how many calls it runs at a time
            (known for those of ``concurrent.futures``).
        retries: at least 0.
        progress: show a progress line on standard error.
        run: what runs a block; importable by its name where the workers are.
        report: called at the end with a summary of what is quarantined, if anything is; default: warns with a
            :class:`QuarantineWarning`.

    Raises:
        InvalidArgument: workers below 1, retries below 0, or a task in two ladders.
        InvalidFile: the ledger holds results of another version of the simulation.
        ExecutorLost: the executor has gone and cannot be replaced; the ledger holds what is finished.
    """
    require(retries >= 0, "retries", retries, "must be at least 0")
    if any(task.id != id for id, task in tasks_of(ledger.records).items()):
        raise InvalidFile(ledger.path, "holds results of another version of the simulation, which do not mix with ours")
    known = blocks_of(ledger.records)
    rounds = [Rounds.start(ladder, schedule, known) for ladder in dict.fromkeys(ladders)]
    for ladder in rounds:
        for k, task in ladder.tasks.items():
            require_whole(task, ladder.known[k])
    owner = {task.id: ladder for ladder in rounds for task in ladder.tasks.values()}
    count = sum(len(ladder.tasks) for ladder in rounds)
    require(len(owner) == count, "ladders", f"{len(rounds)} ladders", "must not have a task in common")
    bar = SweepBar(len(rounds), count, show=progress)
    with bar, open_workers(workers, executor) as crew, Dispatcher(crew, retries, run) as dispatcher:
        _complete(rounds, owner, dispatcher, ledger, bar)
    failures = [failure for ladder in rounds for failure in ladder.failures]
    if failures:
        report(_summary(failures))
    return [cell for ladder in rounds for cell in _cells(ladder)]


def _complete(
    rounds: Sequence[Rounds], owner: Mapping[str, Rounds], dispatcher: Dispatcher, ledger: Ledger, bar: SweepBar
) -> None:
    """Bring all ladders to their end."""
    written = set(tasks_of(ledger.records))
    queue: deque[tuple[Rounds, Work]] = deque()

    def ask(ladder: Rounds) -> None:
        done, asked = ladder.trials
        queue.extend((ladder, work) for work in ladder.next_round())
        bar.plan(ladder.trials[1] - asked, ladder.trials[0] - done)
        if ladder.over:
            bar.end(len(ladder.tasks), ladder.trials[1])

    # In an order that visits the whole grid evenly, so that the speed so far foretells the rest.
    for _, ladder in sorted(enumerate(rounds), key=lambda item: item[0] * _GOLDEN % 1):
        ask(ladder)
    while queue or not dispatcher.idle:
        while queue and dispatcher.room:
            dispatcher.submit(_cut(queue))
        for answer in dispatcher.collect():
            if answer.task.id not in written:
                ledger.append(task_record(answer.task))
                written.add(answer.task.id)
            ledger.append(_record(answer))
            ladder = owner[answer.task.id]
            ladder.settle(answer)
            bar.advance(answer.task.block_size)
            if not ladder.missing:
                ask(ladder)


_GOLDEN = 0.6180339887498949


def _cut(queue: deque[tuple[Rounds, Work]]) -> Piece:
    """The next piece: as many blocks as fill its time, of as many tasks; alone, one of which nothing is known yet."""
    blocks: list[tuple[Task, int]] = []
    left = _PIECE_SECONDS
    while queue:
        ladder, work = queue[0]
        seconds = ladder.block_seconds(work.task.k)
        fitting = 1 if seconds is None else round(left / max(seconds, 1e-6))
        if blocks and (seconds is None or fitting < 1):
            break
        count = min(max(1, fitting), len(work.blocks))
        blocks += [(work.task, work.blocks.popleft()) for _ in range(count)]
        if not work.blocks:
            queue.popleft()
        left -= count * (_PIECE_SECONDS if seconds is None else seconds)
        if left <= 0:
            break
    return Piece(tuple(blocks))


_PIECE_SECONDS = 0.1  # what a worker does in one call: long beside the cost of a call, short beside a sweep


def _record(answer: Answer) -> BlockRecord | FailureRecord:
    if isinstance(answer.result, Failure):
        failed = answer.result
        return failure_record(answer.task, answer.block, failed.error, failed.attempts, failed.traceback)
    return block_record(answer.task, answer.block, answer.result)


def _summary(failures: Sequence[Answer]) -> str:
    """How many blocks were given up, and the first with its error."""
    first, count = failures[0], len(failures)
    assert isinstance(first.result, Failure)
    task, e = first.task, first.task.ensemble
    return (
        f"{count} block{'s are' if count > 1 else ' is'} left out after {first.result.attempts} attempts; the first: "
        f"block {first.block} of {e.label} m = {e.m}, n = {e.n}, k = {task.k} (task {task.id[:12]}): "
        f"{first.result.error}"
    )


def _cells(ladder: Rounds) -> list[Cell]:
    """Counts of one ladder, over the blocks that the schedule asked for."""
    records: list[Any] = [_record(failure) for failure in ladder.failures]
    for k, blocks in ladder.counted().items():
        records.append(task_record(ladder.tasks[k]))
        records += [block_record(ladder.tasks[k], block, result) for block, result in blocks.items()]
    return cells(records)


def run_certificates(
    ensembles: Iterable[Ensemble], draws: int, ledger: Ledger, *, seed: int = 0, progress: bool = True
) -> list[str]:
    """Record the k that the Babel function certifies (THEORY.md OMP-3) for ``draws`` dictionaries of each ensemble.

    What the (open) ledger holds already is not computed again. An ensemble that raises, as a user's may, is left out.

    Returns:
        for each ensemble that was left out, its error.
    """
    require(draws >= 0, "draws", draws, "must be at least 0")
    failed: dict[Ensemble, str] = {}
    done = {replace(record, certified_k=0) for record in ledger.of(CertificateRecord)}
    todo = [
        (ensemble, _undrawn(ensemble, draw))
        for ensemble in dict.fromkeys(ensembles)
        for draw in range(min(draws, 1) if ensemble.family == "file" else draws)
    ]
    todo = [(ensemble, record) for ensemble, record in todo if record not in done]
    for ensemble, record in progress_bar(todo, unit="dictionary", desc="certify", show=progress and bool(todo)):
        if ensemble in failed:
            continue
        try:
            k = babel_certified_k(ensemble.draw(derived_seed(seed, f"certificate {record.draw}")))
        except (Exception, SystemExit) as error:
            if ensemble.plugin is None:
                raise
            failed[ensemble] = f"nothing is certified of {ensemble.label}: {type(error).__name__}: {error}"
        else:
            ledger.append(replace(record, certified_k=k))
    return list(failed.values())


def _undrawn(ensemble: Ensemble, draw: int) -> CertificateRecord:
    """The record of a dictionary, without its k."""
    named = {name: value for name, value in ensemble.content.items() if name != "plugin"}
    if ensemble.plugin is not None:
        named |= {"family": ensemble.label, "sha256": ensemble.plugin.sha256}
    return CertificateRecord(0, draw, **named)
