"""Run tasks for N trials each, into a ledger that a later run resumes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import asdict, dataclass

from expander_theory.cells import Cell, as_record, count, outcomes
from expander_theory.errors import require
from expander_theory.executors import workers
from expander_theory.geometry import babel_certified_k
from expander_theory.ledger import Ledger
from expander_theory.progress import progress_bar
from expander_theory.trials import Ensemble, Task, run_trials


@dataclass(frozen=True)
class _Piece:
    task: Task
    first: int
    count: int


def run_sweep(
    tasks: Sequence[Task], trials: int, ledger: Ledger, *, worker_count: int = 1, chunk: int = 25, progress: bool = True
) -> list[Cell]:
    """Bring every task to ``trials`` trials and return the counts, one cell a (different) task.

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
    tasks = list(dict.fromkeys(tasks))
    known = outcomes(ledger.records)
    pieces = [piece for task in tasks for piece in _missing(task, known[task.id], trials, chunk)]
    left = sum(piece.count for piece in pieces)
    total = trials * len(tasks)
    bar = progress_bar(total=total, initial=total - left, unit="trial", desc="sweep", show=progress)
    with bar, workers(worker_count) as executor:
        for piece, outcome in _completed(executor, pieces, 1 if worker_count == 1 else 4 * worker_count):
            ledger.append(as_record(piece.task, piece.first, outcome))
            bar.update(piece.count)
    known = outcomes(ledger.records)
    return [count(task, known[task.id], trials) for task in tasks]


def run_certificates(
    ensembles: Iterable[Ensemble], draws: int, ledger: Ledger, *, seed: int = 0, progress: bool = True
) -> None:
    """Record the k that the Babel function certifies (THEORY.md OMP-3) for ``draws`` dictionaries of each ensemble.

    What the (open) ledger holds already is not computed again.
    """
    require(draws >= 0, "draws", draws, "must be at least 0")
    done = [{key: r[key] for key in r if key != "certified_k"} for r in ledger.records if "certified_k" in r]
    cases = [(ensemble, draw) for ensemble in dict.fromkeys(ensembles) for draw in range(draws)]
    todo = [(ensemble, draw) for ensemble, draw in cases if {**asdict(ensemble), "draw": draw} not in done]
    for ensemble, draw in progress_bar(todo, unit="dictionary", desc="certify", show=progress):
        k = babel_certified_k(Task(ensemble, 1, seed=seed).dictionary(draw))
        ledger.append({**asdict(ensemble), "draw": draw, "certified_k": k})


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
