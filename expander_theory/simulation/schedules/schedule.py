"""Schedules: how many trials each cell of a sweep gets, decided from the outcomes so far.

The two that look for the 50 % boundary are in :mod:`expander_theory.simulation.schedules.boundary_search`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from expander_theory.base import require, require_int
from expander_theory.simulation.schedules._bracket import Bracket
from expander_theory.simulation.schedules.boundary_search import FindBoundary, FitBoundary
from expander_theory.simulation.schedules.ladders import Ladder, Schedule, Seen
from expander_theory.statistics import bounded_mean_sequence, confidence_sequence

__all__ = ["Bracket", "FindBoundary", "FitBoundary", "FixedTrials", "Ladder", "ResolveCells", "Schedule", "Seen"]


MOST_TRIALS = 10**8
"""Of a cell: its blocks are listed in memory."""


@dataclass(frozen=True)
class FixedTrials:
    """A schedule with the same number of trials for every k, in one round.

    Attributes:
        trials: at least 1; rounded up to whole blocks.
    """

    trials: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "trials", require_int("trials", self.trials))
        require(1 <= self.trials <= MOST_TRIALS, "trials", self.trials, f"must be between 1 and {MOST_TRIALS}")

    def wanted(self, ladder: Ladder, seen: Seen) -> dict[int, int]:
        """Blocks wanted in total per k."""
        return self.most(ladder)

    def most(self, ladder: Ladder) -> dict[int, int]:
        """The same."""
        return dict.fromkeys(ladder.ks, ladder.blocks(self.trials))


@dataclass(frozen=True)
class ResolveCells:
    """A schedule of trials for each cell until the confidence sequence of its rate is narrow.

    The confidence sequence (:func:`expander_theory.statistics.confidence_sequence`; where signals share a
    dictionary, :func:`expander_theory.statistics.bounded_mean_sequence` of the dictionaries' shares
    of successes) holds at the moment of stopping. A round asks for as many trials as the width so far suggests, at
    most as many again as there are.

    Attributes:
        half_width: stop where the interval is no wider than twice this, in (0, 1/2).
        max_trials: of a cell, at least 1; rounded up to whole blocks.
        beyond: stop as well where the interval lies above 1/2 + beyond or below 1/2 - beyond, in [0, 1/2); None: never.
        level: of the interval, in (0, 1).
    """

    half_width: float
    max_trials: int = 2000
    beyond: float | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_trials", require_int("max_trials", self.max_trials))
        require(0 < self.half_width < 0.5, "half_width", self.half_width, "must be in (0, 1/2)")
        most = self.max_trials
        require(1 <= most <= MOST_TRIALS, "max_trials", most, f"must be between 1 and {MOST_TRIALS}")
        require(self.beyond is None or 0 <= self.beyond < 0.5, "beyond", self.beyond, "must be in [0, 1/2), or None")
        require(0 < self.level < 1, "level", self.level, "must be in (0, 1)")

    def interval(self, ladder: Ladder, outcomes: Sequence[str]) -> tuple[float, float]:
        """The confidence sequence of one cell's rate, from the outcomes of its blocks; (0, 1) without any."""
        values = ladder.values(outcomes)
        if ladder.signals_per_unit > 1:
            return bounded_mean_sequence(values, level=self.level)
        low, high = confidence_sequence(values.sum(), values.size, level=self.level)
        return float(low), float(high)

    def wanted(self, ladder: Ladder, seen: Seen) -> dict[int, int]:
        """Blocks wanted in total per k."""
        return {k: self._cell(ladder, seen.get(k, ())) for k in ladder.ks}

    def _cell(self, ladder: Ladder, outcomes: Sequence[str]) -> int:
        count = len(outcomes)
        low, high = self.interval(ladder, outcomes)
        half = (high - low) / 2
        decided = self.beyond is not None and (low > 0.5 + self.beyond or high < 0.5 - self.beyond)
        if half <= self.half_width or decided:
            return count
        suggested = min(math.ceil(count * (half / self.half_width) ** 2), 2 * count)
        return max(count, min(max(count + 1, suggested), ladder.blocks(self.max_trials)))

    def most(self, ladder: Ladder) -> dict[int, int]:
        """Blocks per k that are never exceeded."""
        return dict.fromkeys(ladder.ks, ladder.blocks(self.max_trials))
