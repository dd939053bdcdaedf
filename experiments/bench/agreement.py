"""Supports of all solvers compared on the same signals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.bench.references import TieAwareOMP
from experiments.bench.sizes import Problem
from experiments.bench.timing import Timing

JUDGED = 8
"""Signals of ours that are always compared with float64 OMP."""


def compare(problem: Problem, timings: list[Timing]) -> None:
    """Fill in the comparison of supports; disputes are settled by float64 OMP."""
    ours, judge = timings[0], TieAwareOMP.of(problem.dictionary)
    known: dict[int, tuple[NDArray[np.int64], bool]] = {}

    def verdict(b: int) -> tuple[NDArray[np.int64], bool]:
        if b not in known:
            known[b] = judge.support(problem.signals[b], problem.k)
        return known[b]

    mine = np.sort(ours.chosen, axis=1)
    for timing in filter(lambda timing: timing.batch, timings):
        count = timing.compared = min(JUDGED if timing is ours else timing.batch, ours.batch)
        if timing is ours:
            others = np.stack([verdict(b)[0] for b in range(count)])
        else:
            others = np.sort(timing.chosen, axis=1)[:count]
        unequal = np.flatnonzero((mine[:count] != others).any(axis=1))
        timing.equal = count - unequal.size
        for b in unequal if timing.solver.same_rule else ():
            support, near = verdict(int(b))
            right = np.array_equal(support, mine[b])
            timing.excused += near
            timing.theirs_wrong += not near and right
            timing.ours_wrong += not near and not right
