"""A bracket of the 50 % boundary that assumes only that the success rate does not increase, valid at any time.

For every place g where the boundary could be, between two neighbouring sparsities, a gambler bets against "the rate
is at least 1/2 at every k below g and at most 1/2 at every k above". The capital is the product of one-sided
capitals, one a cell (``one_sided_capitals``), which bets only on what earlier trials of that cell suggest. If g is
the true place it is a supermartingale that starts at 1, whatever cells are tried next and whenever one stops, so P(it
ever reaches 1/a) <= a (Ville). The places whose capital is below 1/a are the bracket: no correction for the number of
cells or looks is needed, and evidence of neighbouring cells adds up. Source: Waudby-Smith and Ramdas 2024 (betting),
Ramdas et al. 2023 (products of e-processes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.statistics.betting import one_sided_capitals
from expander_theory.simulation.schedules.ladders import Ladder, Seen

BracketStatus = Literal["resolved", "grid", "all_succeed", "all_fail", "not_decreasing", "exhausted", "open"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bracket:
    """What is known of the 50 % boundary of a column: the rate is at least 1/2 at low_k and at most 1/2 at high_k.

    Attributes:
        low_k, high_k: None on a side where nothing is known yet, or where the ladder ends.
        status: "resolved": within the resolution. "grid": wider, but at most one k of the ladder lies strictly between,
            and where its rate is near 1/2 no number of trials would tell. "all_succeed", "all_fail": the boundary is
            beyond the ladder's last or first k. "not_decreasing": the data refute that the rate does not increase.
            "exhausted": out of trials before any of these. "open": more trials are wanted.
        trials: spent on the ladder.
    """

    low_k: int | None
    high_k: int | None
    status: BracketStatus
    trials: int


_PRIOR = 50.0
"""Bets start as if after this many trials of rate 1/2: early outcomes are noise, and betting on them costs."""
_MOST = 0.9
"""No bet risks more than this share of the capital."""


@dataclass(frozen=True)
class Evidence:
    """What the tried cells of one ladder say of the place of its boundary.

    Attributes:
        cells: of the ladder.
        places: index in the ladder of each tried cell, ascending.
        successes, units: of each tried cell; where signals share dictionaries, shares of successes and dictionaries.
        capital: log capital against each place of the boundary: entry j against "between tried cells j - 1 and j".
    """

    cells: int
    places: NDArray[np.int64]
    successes: Floats
    units: Floats
    capital: Floats

    @classmethod
    def of(cls, ladder: Ladder, seen: Seen) -> Evidence:
        """The evidence in the outcomes of the first blocks of each k."""
        places = [place for place, k in enumerate(ladder.ks) if len(seen.get(k, ()))]
        values = [ladder.values(seen[ladder.ks[place]]) for place in places]
        prior = max(1.0, _PRIOR / ladder.signals_per_unit)
        up, down = np.array([one_sided_capitals(v, prior, _MOST) for v in values]).reshape(-1, 2).T
        capital = np.concatenate([[0.0], np.cumsum(down)]) + np.concatenate([np.cumsum(up[::-1])[::-1], [0.0]])
        sums, sizes = np.array([v.sum() for v in values], float), np.array([v.size for v in values], float)
        return cls(len(ladder.ks), np.array(places, np.int64), sums, sizes, capital)

    def hull(self, level: float) -> tuple[int, int] | None:
        """Places of the cells that enclose the boundary, -1 and ``cells`` for none; None if every place is refuted."""
        kept = np.flatnonzero(self.capital < -math.log(1 - level))
        if kept.size == 0:
            return None
        ends = np.concatenate([[-1], self.places, [self.cells]])
        return int(ends[kept[0]]), int(ends[kept[-1] + 1])

    def missing(self, level: float) -> tuple[Floats, Floats]:
        """Log capital that is missing to refute every boundary below cell i, and every one above it, by place i."""
        short = -math.log(1 - level) - self.capital
        below, above = np.maximum.accumulate(short), np.maximum.accumulate(short[::-1])[::-1]
        i = np.arange(self.cells)
        return below[np.searchsorted(self.places, i)], above[np.searchsorted(self.places, i, side="right")]
