"""Schedules that spend trials where the 50 % boundary of a column is uncertain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlog1py, xlogy

from expander_theory.base import require, require_int
from expander_theory.simulation.schedules._bracket import Bracket, BracketStatus, Evidence
from expander_theory.simulation.schedules.ladders import Ladder, Seen, seen_counts
from expander_theory.statistics import UNRESOLVED, Boundary, fit_boundary, located

Floats = NDArray[np.float64]

_GROWTH = 0.25
"""A round adds at most about this share of the trials so far, so that plans are revised often."""


@dataclass(frozen=True)
class FindBoundary:
    """Trials until the 50 % boundary is bracketed within +- ``resolution`` in k/m, whatever the shape of the curve.

    The :mod:`bracket <expander_theory.simulation.schedules._bracket>` assumes only that the success rate does not
    increase along the ladder; with probability at least ``level`` it holds at all times at once, the moment of
    stopping included. First the tried cell halves what is open; once a cell in there stays undecided, two cells are
    tried, one on each side of where a logistic fit sees the boundary, as far apart as the resolution allows. A wrong
    fit costs trials, never validity. For logit p = b (c - k/m) it takes about 100 + 150/(b resolution)^2 trials (no
    test of level 0.95 takes fewer than 48/(b resolution)^2 on average, whatever it does). With a dictionary for each
    cell ("cell"), neighbouring rates are about different dictionaries and may increase: use "fresh" or "fixed".

    Attributes:
        resolution: above 0. A ladder whose ks are further apart is bracketed by neighbours but one.
        max_trials: of the ladder, all cells together, at least 1; rounded up to whole blocks.
        level: of the bracket, in (0, 1).
    """

    resolution: float
    max_trials: int = 4000
    level: float = 0.95

    def __post_init__(self) -> None:
        _check(self)

    def bracket(self, ladder: Ladder, seen: Seen) -> Bracket:
        """What the outcomes say of the boundary."""
        hull, blocks = Evidence.of(ladder, seen).hull(self.level), sum(seen_counts(seen).values())
        if hull is None:
            return Bracket(None, None, "not_decreasing", blocks * ladder.base.block_size)
        return self._bracket(ladder, hull, blocks)

    def _bracket(self, ladder: Ladder, hull: tuple[int, int], blocks: int) -> Bracket:
        ks, (low, high) = ladder.ks, hull
        status: BracketStatus = "exhausted" if blocks >= ladder.blocks(self.max_trials) else "open"
        if high == 0:
            status = "all_fail"
        elif low == len(ks) - 1:
            status = "all_succeed"
        elif low >= 0 and high < len(ks):
            if ks[high] - ks[low] <= _span(self.resolution, ladder):
                status = "resolved"
            elif high - low <= 2:
                status = "grid"
        known = (ks[low] if low >= 0 else None, ks[high] if high < len(ks) else None)
        return Bracket(*known, status, blocks * ladder.base.block_size)

    def wanted(self, ladder: Ladder, seen: Seen) -> dict[int, int]:
        """Blocks wanted in total per k."""
        counts, evidence = seen_counts(seen), Evidence.of(ladder, seen)
        spent, hull = sum(counts.values()), evidence.hull(self.level)
        if hull is None or self._bracket(ladder, hull, spent).status != "open":
            return counts
        probes = _halving(ladder, evidence, hull) or self._pair(ladder, counts, evidence, hull)
        return _added(ladder, counts, probes, ladder.blocks(self.max_trials) - spent)

    def _pair(
        self, ladder: Ladder, counts: dict[int, int], evidence: Evidence, hull: tuple[int, int]
    ) -> list[tuple[int, int]]:
        """The two cells within the resolution that are predicted to be decided with fewest trials more."""
        ks, (low, high) = np.array(ladder.ks, float), hull
        centre, slope = _plan(ladder, evidence, hull)
        gain = _divergence(slope * (ks - centre)) * ladder.base.block_size / ladder.signals_per_unit
        below, above = evidence.missing(self.level)
        cost_low = np.where(below <= 0, 0.0, np.where(ks < centre, below / gain, np.inf))
        cost_high = np.where(above <= 0, 0.0, np.where(ks > centre, above / gain, np.inf))
        firsts = np.arange(max(low, 0), min(high + 1, ks.size))
        lasts = np.searchsorted(ks, ks[firsts] + _span(self.resolution, ladder), side="right") - 1
        lasts = np.minimum(np.maximum(lasts, firsts + 2), min(high, ks.size - 1))
        best = int(np.argmin(cost_low[firsts] + cost_high[lasts]))
        pair = ((int(firsts[best]), cost_low), (int(lasts[best]), cost_high))
        return [(place, math.ceil(min(cost[place], _limit(counts)))) for place, cost in pair if cost[place] > 0]

    def most(self, ladder: Ladder) -> dict[int, int]:
        """Blocks per k that are never exceeded; all of them together are no more than one of them."""
        return dict.fromkeys(ladder.ks, ladder.blocks(self.max_trials))


@dataclass(frozen=True)
class FitBoundary:
    """Trials until a logistic fit places the 50 % boundary within +- ``resolution`` in k/m.

    It assumes the logistic form near the boundary, and in return needs fewer trials than :class:`FindBoundary`: about
    100 + 40/(b resolution)^2 for logit p = b (c - k/m). The interval is that of
    :func:`expander_theory.statistics.fit_boundary` with half the allowed error, because stopping when a fit looks
    sharp favours fits that look too sharp; that it then covers is checked by simulation (``expander coverage``), not
    proved. :func:`expander_theory.statistics.goodness_of_fit` tests the form. Halving first, as there; then trials go
    to the cells of fitted rates near 0.7 and 0.3, which fix both the centre and the slope.

    Attributes:
        resolution: above 0. Where the whole transition falls between two ks, or on one, it is not resolved further.
        max_trials: of the ladder, all cells together, at least 1; rounded up to whole blocks.
        level: of the interval, in (0, 1).
    """

    resolution: float
    max_trials: int = 4000
    level: float = 0.95

    def __post_init__(self) -> None:
        _check(self)

    def boundary(self, ladder: Ladder, seen: Seen) -> Boundary | None:
        """The fit in k/m; None before two cells were tried.

        Raises:
            InvalidArgument: signals share fresh dictionaries: the trials are not independent.
        """
        shared = ladder.signals_per_unit
        require(shared == 1, "signals_per_dictionary", shared, "must be 1 for a fit of independent trials")
        evidence = Evidence.of(ladder, seen)
        if evidence.places.size < 2:
            return None
        t = np.array(ladder.ks, float)[evidence.places] / ladder.base.ensemble.m
        return fit_boundary(t, evidence.successes, evidence.units, level=(1 + self.level) / 2)

    def wanted(self, ladder: Ladder, seen: Seen) -> dict[int, int]:
        """Blocks wanted in total per k."""
        counts, boundary = seen_counts(seen), self.boundary(ladder, seen)
        evidence = Evidence.of(ladder, seen)
        left, hull = ladder.blocks(self.max_trials) - sum(counts.values()), evidence.hull(self.level)
        one_sided = hull is not None and (hull[1] == 0 or hull[0] == len(ladder.ks) - 1)
        if left <= 0 or hull is None or one_sided or self._resolved(ladder, boundary):
            return counts
        probes = _halving(ladder, evidence, hull) or self._around(ladder, counts, evidence, hull)
        return _added(ladder, counts, probes, left)

    def _resolved(self, ladder: Ladder, boundary: Boundary | None) -> bool:
        if boundary is None or boundary.status != "fitted":
            return False
        if boundary.high - boundary.low <= 2 * self.resolution * (1 + 1e-9):
            return True
        t = np.array(ladder.ks, float) / ladder.base.ensemble.m
        after = min(max(int(np.searchsorted(t, boundary.centre)), 1), t.size - 1)
        inside = int(((boundary.low < t) & (t < boundary.high)).sum())
        return inside <= 1 and -boundary.slope * (t[after] - t[after - 1]) > UNRESOLVED

    def _around(
        self, ladder: Ladder, counts: dict[int, int], evidence: Evidence, hull: tuple[int, int]
    ) -> list[tuple[int, int]]:
        """The cells next to where the fitted rate is 0.7 and 0.3."""
        ks = np.array(ladder.ks, float)
        centre, slope = _plan(ladder, evidence, hull)
        below = np.searchsorted(ks, centre - _OFF_CENTRE / -slope, side="right") - 1
        above = np.searchsorted(ks, centre + _OFF_CENTRE / -slope)
        places = {int(np.clip(place, 0, ks.size - 1)) for place in (below, above)}
        return [(place, _limit(counts)) for place in sorted(places)]

    def most(self, ladder: Ladder) -> dict[int, int]:
        """Blocks per k that are never exceeded; all of them together are no more than one of them."""
        return dict.fromkeys(ladder.ks, ladder.blocks(self.max_trials))


_OFF_CENTRE = 0.85
"""Logit of the rate 0.7."""


def _check(schedule: FindBoundary | FitBoundary) -> None:
    object.__setattr__(schedule, "max_trials", require_int("max_trials", schedule.max_trials))
    require(0 < schedule.resolution < math.inf, "resolution", schedule.resolution, "must be above 0")
    require(schedule.max_trials >= 1, "max_trials", schedule.max_trials, "must be at least 1")
    require(0 < schedule.level < 1, "level", schedule.level, "must be in (0, 1)")


def _span(resolution: float, ladder: Ladder) -> float:
    """Widest bracket in k that is within the resolution, forgiving rounding."""
    return 2 * resolution * ladder.base.ensemble.m * (1 + 1e-9)


def _limit(counts: dict[int, int]) -> int:
    """Most blocks that one of two cells gets in a round."""
    return max(1, math.ceil(_GROWTH / 2 * sum(counts.values())))


def _halving(ladder: Ladder, evidence: Evidence, hull: tuple[int, int]) -> list[tuple[int, int]]:
    """The cell that halves what is open between ``hull``'s cells, unless one in there was tried already."""
    low, high = hull
    if high - low < 2 or ((evidence.places > low) & (evidence.places < high)).any():
        return []
    place = (low + high) // 2
    if low >= 0 and high < len(ladder.ks):
        centre, _ = _plan(ladder, evidence, hull)
        nearest = int(np.argmin(np.abs(np.array(ladder.ks, float) - centre)))
        place = min(max(nearest, low + 1), high - 1)
    return [(place, 1)]


def _plan(ladder: Ladder, evidence: Evidence, hull: tuple[int, int]) -> tuple[float, float]:
    """Centre and slope in k of the penalised logistic fit, the centre within ``hull``; else its middle and a guess."""
    ks = np.array(ladder.ks, float)
    low, high = ks[max(hull[0], 0)], ks[min(hull[1], ks.size - 1)]
    t, fit = ks[evidence.places], None
    if t.size >= 2:
        _, fit = located(t, evidence.successes, evidence.units)
    if fit is None:
        return (low + high) / 2, -8.0 / max(high - low, 1.0)
    return min(max(fit.centre, low), high), fit.slope


def _divergence(eta: Floats) -> Floats:
    """Kullback-Leibler divergence of the rate of logit ``eta`` from 1/2: the best growth of log capital per trial."""
    p = expit(np.clip(eta, -30, 30))
    return np.maximum(math.log(2) + xlogy(p, p) + xlog1py(1 - p, -p), 1e-9)


def _added(ladder: Ladder, counts: dict[int, int], probes: list[tuple[int, int]], left: int) -> dict[int, int]:
    """Counts with the blocks of the probes, (place, blocks), as far as ``left`` allows."""
    total = dict(counts)
    for place, blocks in probes:
        more = min(blocks, left)
        if more > 0:
            k = ladder.ks[place]
            total[k] = total.get(k, 0) + more
            left -= more
    return total
