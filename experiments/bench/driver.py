"""The driver of every benchmark: contenders take turns on fixed batches; their times, memory and answers.

A busy moment of the machine hits all contenders alike, because each repeat goes through all of them before the next
repeat begins; how much a contender has to do is declared and never follows from how fast it was.

pyperf's own Runner does not fit: it measures one benchmark after the other, in processes of their own, and returns
times only, while contenders here are interleaved, share a problem that takes longer to build than to solve, and have
their answers compared. What is used of pyperf: its way to calibrate loops of short calls (:func:`measure`), its
description of the machine (:mod:`experiments.bench.machine`), and its files, so that ``python -m pyperf compare_to``
sets two runs beside each other (:func:`write_pyperf`).
"""

from __future__ import annotations

import ctypes
import gc
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[], Any]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a benchmark.

    Attributes:
        name: for tables; unique in a measurement.
        batch: units of work in the first call (signals, tokens), by which rates are counted.
        prepare: builds what the calls need (not timed) and returns the calls that are timed, by the name of the part.
        answer: what to keep of the result of the first part; made after the clock has stopped.
        fresh: prepare anew before each repeat, so that a first call which sets something up does so every time.
        warm: run once, unmeasured, before memory is measured, since the first run compiles.
        once: take the times from the run that measures memory and make no repeats; for what takes long.
    """

    name: str
    batch: int
    prepare: Callable[[], Mapping[str, Call]]
    answer: Callable[[Any], Any] = lambda _: None
    fresh: bool = False
    warm: bool = False
    once: bool = False


@dataclass(frozen=True)
class Measured:
    """What was measured of one contender.

    Attributes:
        name, batch: of the contender.
        seconds: of one call in each repeat, by part.
        peak: bytes of memory at most, above what was held before preparing; 0 where it was not measured.
    """

    name: str
    batch: int
    seconds: dict[str, list[float]]
    peak: int

    def least(self, part: str) -> float:
        """Seconds of the fastest repeat: noise only ever adds."""
        return min(self.seconds[part])

    def median(self, part: str) -> float:
        """Seconds of the middle repeat."""
        return self.quartiles(part)[1]

    def quartiles(self, part: str) -> tuple[float, float, float]:
        """First quartile, median and third quartile of the seconds."""
        first, median, third = np.percentile(self.seconds[part], (25, 50, 75))
        return float(first), float(median), float(third)


def measure(
    contenders: Sequence[Contender],
    repeats: int,
    *,
    clock: Clock = time.process_time,
    shortest: float = 0.0,
    peak: Callable[[Call], int] | None = None,
) -> tuple[list[Measured], dict[str, Any]]:
    """Time contenders in turn: a first pass for memory and warm caches, then interleaved repeats.

    Args:
        repeats: passes that are timed.
        clock: processor time of this process (the default), or wall time.
        shortest: seconds. A shorter call is repeated within its repeat, a number of times that is found in the first
            pass and then fixed (pyperf's calibration); not for contenders that are ``fresh``. 0: every call is made
            once.
        peak: measures the memory that a call takes, such as :func:`peak_bytes`.

    Returns:
        what was measured, in the order of the contenders, and their last answers by name.
    """
    turns = [_Turns(one, clock, shortest) for one in contenders]
    for turn in turns:
        if turn.contender.warm:
            turn.take()
            turn.forget()
        if peak is None:
            turn.take()
        else:
            turn.peak = peak(turn.take)
    repeated = [turn for turn in turns if not turn.contender.once]
    for turn in repeated:
        turn.seconds.clear()
    for _ in range(repeats):
        for turn in repeated:
            turn.take()
    found = [Measured(turn.contender.name, turn.contender.batch, turn.seconds, turn.peak) for turn in turns]
    return found, {turn.contender.name: turn.answer for turn in turns}


def fastest(calls: Mapping[str, Call], repeats: int = 5, **how: Any) -> dict[str, float]:
    """Seconds of the fastest call of each, interleaved; ``how`` goes to :func:`measure`."""
    contenders = [Contender(name, 1, lambda call=call: {"call": call}) for name, call in calls.items()]
    return {one.name: one.least("call") for one in measure(contenders, repeats, **how)[0]}


class _Turns:
    """One contender on its way through a measurement."""

    def __init__(self, contender: Contender, clock: Clock, shortest: float) -> None:
        self.contender, self._clock, self._shortest = contender, clock, shortest
        self.seconds: dict[str, list[float]] = {}
        self.answer: Any = None
        self.peak = 0
        self._loops: dict[str, int] = {}
        self._kept: Mapping[str, Call] | None = None

    def take(self) -> None:
        """Every part once."""
        calls = self._kept or self.contender.prepare()
        for number, (part, call) in enumerate(calls.items()):
            if part in self._loops:
                spent, found = _timed(call, self._loops[part], self._clock)
            else:
                self._loops[part], spent, found = self._calibrated(call)
            self.seconds.setdefault(part, []).append(spent / self._loops[part])
            if number == 0:
                self.answer = self.contender.answer(found)
            del found
        self._kept = None if self.contender.fresh or self.contender.once else calls

    def forget(self) -> None:
        """What was prepared and timed so far."""
        self._kept = None
        self.seconds.clear()

    def _calibrated(self, call: Call) -> tuple[int, float, Any]:
        """How many calls take long enough, their seconds and result."""
        loops = 1
        while (timed := _timed(call, loops, self._clock))[0] < self._shortest:
            loops *= 4
        return loops, *timed


def _timed(call: Call, loops: int, clock: Clock) -> tuple[float, Any]:
    found = None
    gc.disable()  # a collection looks through every object of every package that is loaded
    try:
        begun = clock()
        for _ in range(loops):
            found = None  # or two results would be held at once
            found = call()
        return clock() - begun, found
    finally:
        gc.enable()


def waiting(wait: Call) -> Clock:
    """Wall time, read once ``wait`` has returned: of a device that works off a queue."""

    def clock() -> float:
        wait()
        return time.perf_counter()

    return clock


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
MEMORY = (
    "resident memory (VmHWM, reset before the call)"
    if _CLEAR.exists()
    else "tracemalloc: what NumPy and Python allocate, without that of C++ code"
)
"""How :func:`peak_bytes` measures here."""


def peak_bytes(work: Call) -> int:
    """Run ``work``; the peak of the memory held during it, minus what was held before.

    In this process: a forked one would hang in the thread pools of BLAS and torch, and a new one would have to build
    the problem and compile everything again.
    """
    gc.collect()
    if not _CLEAR.exists():
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)  # pages that the allocator keeps for reuse would hide what the call needs
    before = _resident("VmRSS")
    _CLEAR.write_text(_RESET_PEAK)
    work()
    return max(0, _resident("VmHWM") - before)


def own_peak() -> int:
    """Bytes that this process has held at most, what it has imported included."""
    if _STATUS.exists():
        return _resident("VmHWM")
    import resource  # counts what the parent held before the process began, on some systems

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
