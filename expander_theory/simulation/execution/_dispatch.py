"""Blocks on an executor: pieces of work, retries, and workers that die."""

from __future__ import annotations

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from expander_theory.simulation.execution.executors import ExecutorLost, Workers, died_with_worker
from expander_theory.simulation.tasks import KERNEL_VERSION, Task
from expander_theory.simulation.trials import Block

Run = Callable[[Task, int], Block]


@dataclass(frozen=True)
class Piece:
    """Blocks that a worker runs in one call, each with its task."""

    blocks: tuple[tuple[Task, int], ...]


@dataclass(frozen=True)
class Failure:
    """A block that is given up: the text of its last error, how often it was tried, and the error's traceback."""

    error: str
    attempts: int
    traceback: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of one block, and the seconds that it took."""

    task: Task
    block: int
    result: Block | Failure
    seconds: float


@dataclass(frozen=True)
class _Raised:
    """What a worker says of a block that raised."""

    error: str
    traceback: str


@dataclass(frozen=True)
class _Reply:
    version: str
    results: tuple[tuple[Block | _Raised, float], ...]
    """What became of each block, and the seconds that it took."""


class Dispatcher:
    """Sends pieces to workers and judges what comes back.

    A block that raises is tried again, alone. When a worker dies, any of the calls in flight may have killed it (an
    executor of processes loses all of them): they are run again in ever smaller groups, halving, until the block that
    kills its worker when nothing else is in flight is found; no other is blamed. A block is given up after
    ``retries`` further attempts.

    Args:
        workers: open workers.
        retries: at least 0.
        run: what runs a block.
    """

    def __init__(self, workers: Workers, retries: int, run: Run) -> None:
        self._workers, self._retries, self._run = workers, retries, run
        self._running: dict[Future[_Reply], Piece] = {}
        self._again: list[Piece] = []
        self._suspects: deque[list[Piece]] = deque()
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._calls = 0
        self._lost: ExecutorLost | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is left to collect."""
        return not (self._running or self._again or self._suspects or self._lost)

    @property
    def room(self) -> bool:
        """Whether another piece may be submitted now."""
        return not (self._again or self._suspects or self._lost) and len(self._running) < self._workers.ahead

    def submit(self, piece: Piece) -> None:
        """Send a piece to the workers."""
        self._calls += 1  # an argument, so that no executor takes a second attempt for the first
        try:
            self._running[self._workers.submit(_reply, self._run, piece, self._calls)] = piece
        except Exception as error:
            if not died_with_worker(error):
                raise
            self._again.append(piece)

    def collect(self) -> list[Answer]:
        """Wait until something is finished, and return the blocks that are decided (perhaps none).

        Raises:
            ExecutorLost: the executor has gone and cannot be replaced, or runs another version of this project; what
                was finished before has been returned.
        """
        if self._lost is not None:
            raise self._lost
        alone = len(self._running) == 1
        done, running = wait(self._running, return_when=FIRST_COMPLETED)
        broken = bool(self._again) or any(_broke(future) for future in done)
        if broken:
            done |= wait(running).done  # the others are lost with the executor, unless they had just finished
        answers: list[Answer] = []
        died: list[Piece] = []
        for future in done:
            try:
                self._judge(future, answers, died)
            except ExecutorLost as lost:
                self._lost = lost
        if alone and len(died) == 1 and len(died[0].blocks) == 1:
            answers += self._failed(*died[0].blocks[0], _Raised(_DIED, ""), 0.0)
        else:
            self._suspects.extendleft(reversed(_halves(died)))
        if self._lost is None:
            try:
                self._go_on(broken)
            except ExecutorLost as lost:
                self._lost = lost
        return answers

    def __enter__(self) -> Dispatcher:
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if not self._workers.owned:  # one that is ours ends its calls itself
            for future in self._running:
                future.cancel()

    def _judge(self, future: Future[_Reply], answers: list[Answer], died: list[Piece]) -> None:
        """Sort out one finished call: its blocks' answers, or its piece if the worker died."""
        piece = self._running.pop(future)
        try:
            reply = future.result()
        except CancelledError:
            raise ExecutorLost(
                "the executor has dropped its work: has it, or its scheduler, ended? What is finished is kept"
            ) from None
        except Exception as error:
            if died_with_worker(error):
                died.append(piece)
                return
            reply = _Reply(KERNEL_VERSION, ((_raised(error), 0.0),) * len(piece.blocks))
        else:
            _require_version(reply.version)
        for (task, block), (result, seconds) in zip(piece.blocks, reply.results, strict=True):
            if isinstance(result, _Raised):
                answers += self._failed(task, block, result, seconds)
            else:
                answers.append(Answer(task, block, result, seconds))

    def _go_on(self, broken: bool) -> None:
        """Send what is to be tried again: at once, and the next group of suspects when nothing else is in flight."""
        if broken:
            self._workers.renew()
            self._check()
        again, self._again = self._again, []
        for piece in again:
            self.submit(piece)
        if self._suspects and not self._running:
            for piece in self._suspects.popleft():
                self.submit(piece)

    def _failed(self, task: Task, block: int, raised: _Raised, seconds: float) -> list[Answer]:
        """Try the block again, or give it up."""
        self._attempts[task.id, block] += 1
        attempts = self._attempts[task.id, block]
        if attempts > self._retries:
            return [Answer(task, block, Failure(raised.error, attempts, raised.traceback), seconds)]
        self._again.append(Piece(((task, block),)))
        return []

    def _check(self) -> None:
        """One call without a block, so that workers which cannot start are not blamed on the blocks."""
        why = ""
        for _ in range(3):
            self._calls += 1
            try:
                reply = self._workers.submit(_reply, self._run, None, self._calls).result()
            except CancelledError:
                raise ExecutorLost("the executor drops its work: has it, or its scheduler, ended?") from None
            except Exception as error:
                if not died_with_worker(error):
                    raise ExecutorLost(f"the workers cannot run this project's code ({_text(error)})") from error
                why = _text(error)
                self._workers.renew()
            else:
                _require_version(reply.version)
                return
        raise ExecutorLost(f"workers die as soon as they start, before any block; what is finished is kept ({why})")


_DIED = "the worker died (out of memory, killed, or ended by a crash)"


def _reply(run: Run, piece: Piece | None, number: int) -> _Reply:
    """In the worker: the blocks of a piece, with what is known of the error for those that raise."""
    results: list[tuple[Block | _Raised, float]] = []
    for task, block in piece.blocks if piece is not None else ():
        start = time.perf_counter()
        found: Block | _Raised
        try:
            found = run(task, block)
        except (Exception, SystemExit) as error:  # a user's function may call sys.exit
            found = _raised(error)
        results.append((found, time.perf_counter() - start))
    return _Reply(KERNEL_VERSION, tuple(results))


_LONGEST = 8000  # characters of a traceback


def _raised(error: BaseException) -> _Raised:
    lines = "".join(traceback.format_exception(error))
    return _Raised(_text(error), lines if len(lines) <= _LONGEST else f"...\n{lines[-_LONGEST:]}")


def _text(error: BaseException) -> str:
    """Type, message and place of an error, and what it says of its cause in a worker."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    cause = str(error.__cause__).strip(' "\n').rpartition("\n")[2] if error.__cause__ else ""
    return f"{type(error).__name__}: {error}{place}{'; ' if cause else ''}{cause}"


def _require_version(version: str) -> None:
    if version != KERNEL_VERSION:
        raise ExecutorLost(
            f"a worker runs version {version} of the simulation and this process version {KERNEL_VERSION}, "
            "which give different results: install the same version of this project on both"
        )


def _broke(future: Future[_Reply]) -> bool:
    return not future.cancelled() and isinstance(future.exception(), BrokenExecutor)


def _halves(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The blocks of these pieces, one a piece, in two groups."""
    single = [Piece((one,)) for piece in pieces for one in piece.blocks]
    middle = (len(single) + 1) // 2
    return [group for group in (single[:middle], single[middle:]) if group]
