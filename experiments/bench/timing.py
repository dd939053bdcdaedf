"""What was measured of one solver on one problem."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.bench.peers import Solver

Pick = Callable[[Sequence[float]], float]


@dataclass
class Timing:
    """One solver on one problem.

    Attributes:
        batch: signals in a call; 0 where it was not run, and ``remark`` says why.
        whole: CPU seconds of each repeat, set-up included.
        again: CPU seconds of a second call in each repeat, which finds the set-up of the first ("kept").
        least: CPU seconds of a call with ``solver.gram_signals`` signals in each repeat ("hidden" set-up).
        peak: bytes above start, with the dictionary in the solver's layout and the results.
        chosen: atoms of the last repeat as returned; ours in the order of selection.
        compared, equal: signals compared (ours: with the reference; peers: with ours), and those of equal support.
        excused: unequal ones in which the reference met a near-tie.
        ours_wrong, theirs_wrong: the other unequal ones, by whose support is not the reference's (ours if neither is).
    """

    solver: Solver
    batch: int
    remark: str = ""
    whole: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    peak: int = 0
    chosen: NDArray[np.integer] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    compared: int = 0
    equal: int = 0
    excused: int = 0
    ours_wrong: int = 0
    theirs_wrong: int = 0

    def seconds(self, kind: str = "bare", pick: Pick = min) -> float:
        """CPU seconds of a call, the best (min) or statistics.median of the repeats.

        Args:
            kind: "whole", or "bare": without set-up. A hidden set-up is taken out by the slope between two batches.
        """
        if kind == "whole" or not (self.again or self.least):
            return pick(self.whole)
        if self.again:
            return pick(self.again)
        slope = (pick(self.whole) - pick(self.least)) / (self.batch - self.solver.gram_signals)
        return slope * self.batch if slope > 0 else pick(self.whole)

    def rate(self, kind: str = "bare", pick: Pick = min) -> float:
        """Signals per CPU-second."""
        return self.batch / self.seconds(kind, pick)

    @property
    def setup_seconds(self) -> float:
        """Best time with set-up minus best time without; 0 where noise makes it negative."""
        return max(0.0, self.seconds("whole") - self.seconds())

    @property
    def spent(self) -> float:
        """CPU seconds of all calls so far."""
        return sum(self.whole) + sum(self.again) + sum(self.least)

    def clear(self) -> None:
        """Forget all times."""
        for times in (self.whole, self.again, self.least):
            times.clear()

    def record(self) -> dict[str, Any]:
        """All numbers, for a results file."""
        names = ("batch", "remark", "whole", "again", "least", "peak")
        names += ("compared", "equal", "excused", "ours_wrong", "theirs_wrong")
        numbers = {"solver": self.solver.name, **{name: getattr(self, name) for name in names}}
        if self.batch:
            numbers |= {"rate": self.rate(), "median_rate": self.rate(pick=statistics.median)}
            numbers["rate_with_setup"] = self.rate("whole")
        return numbers
