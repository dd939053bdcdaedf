"""Timing: a first pass for memory, then interleaved repeats."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.bench.agreement import compare
from experiments.bench.memory import peak_bytes
from experiments.bench.peers import Solve, Solver
from experiments.bench.sizes import SIZES, Problem, make_problem
from experiments.bench.timing import Timing


def measure(problem: Problem, planned: Sequence[tuple[Solver, int, str]], repeats: int, seconds: float) -> list[Timing]:
    """Time solvers on a problem: in turn, then again, so that a busy moment of the machine hits all alike.

    A first pass, one solver after the other, measures memory.

    Args:
        planned: solver, number of signals, remark; ours comes first.
        repeats: at most.
        seconds: for the repeats of one solver. Fewer are made where they would take longer; a solver whose first pass
            takes longer is timed by that pass alone.
    """
    timings = [Timing(*plan) for plan in planned]
    running = [timing for timing in timings if timing.batch]
    for timing in running:
        _first_pass(problem, timing)
    turns = [min(repeats, int(seconds / timing.spent)) for timing in running]
    solves = [_started(problem, timing) if count else None for timing, count in zip(running, turns, strict=True)]
    for repeat in range(repeats):
        for timing, count, solve in zip(running, turns, solves, strict=True):
            if repeat < count:
                if repeat == 0:
                    timing.clear()
                _repeat(problem, timing, solve)
    compare(problem, timings)
    problem.forget()
    return timings


def warm_up(solvers: Sequence[Solver], dtype: str) -> None:
    """Two small signals for every installed solver, so that none is timed while it loads."""
    problem = make_problem(SIZES["A"], 2, np.dtype(dtype), seed=0)
    for solver in solvers:
        if not solver.missing:
            solver.start(problem)(2)


def _started(problem: Problem, timing: Timing) -> Solve | None:
    """The solver with its dictionary; None where every repeat starts afresh, to time a set-up that is kept."""
    return None if timing.solver.setup == "kept" else timing.solver.start(problem)


def _first_pass(problem: Problem, timing: Timing) -> None:
    """Memory and times of a first repeat."""
    if timing.solver.key == "ours":  # compiles; the whole batch, for its size is part of the choice of a backend
        timing.solver.start(problem)(timing.batch)
    problem.forget()
    timing.peak = peak_bytes(lambda: _repeat(problem, timing, _started(problem, timing)))
    problem.forget()


def _repeat(problem: Problem, timing: Timing, solve: Solve | None) -> None:
    solver = timing.solver
    solve = solve or solver.start(problem)
    spent, found = _seconds(solve, timing.batch)
    timing.whole.append(spent)
    timing.chosen = solver.supports(found, problem.k)
    del found
    if solver.setup == "kept":
        timing.again.append(_seconds(solve, timing.batch)[0])
    elif solver.setup == "hidden" and solver.forms_gram(problem.size, timing.batch):
        timing.least.append(_seconds(solve, solver.gram_signals)[0])


def _seconds(solve: Solve, count: int) -> tuple[float, Any]:
    gc.disable()  # a collection looks through every object of every package that is loaded
    try:
        begun = time.process_time()
        found = solve(count)
        return time.process_time() - begun, found
    finally:
        gc.enable()
