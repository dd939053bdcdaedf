"""The fitted 50 % boundary of success rates that fall along one coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, expit

from expander_theory._kernels.statistics import logistic as kernel
from expander_theory.base import require

BoundaryStatus = Literal["fitted", "all_succeed", "all_fail", "not_decreasing", "outside_grid", "too_few_dictionaries"]


@dataclass(frozen=True)
class Boundary:
    """A fitted 50 % boundary: where the success rate crosses 1/2 along one increasing coordinate (k or k/m).

    Attributes:
        status: "fitted"; otherwise there is no boundary to report and the numbers are NaN:
            "all_succeed" or "all_fail" (every cell on one side of 1/2), "not_decreasing" (the rate does
            not fall), "outside_grid" (the fitted line crosses 1/2 beyond the cells), "too_few_dictionaries" (only
            from :func:`expander_theory.statistics.bootstrap_boundary`).
        centre: the 50 % point.
        low, high: profile-likelihood interval of the asked level; infinite on a side that the data leave open.
        slope: d logit p / d coordinate at the fit, negative.
    """

    status: BoundaryStatus
    centre: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    slope: float = float("nan")


def fit_boundary(coordinate: ArrayLike, successes: ArrayLike, trials: ArrayLike, *, level: float = 0.95) -> Boundary:
    """Logistic fit logit p = b (c - t) with Firth's (Jeffreys) penalty; its 50 % point c with a profile interval.

    The penalty keeps the fit finite when all cells succeed below some t and fail above (complete separation; THEORY.md
    STAT-3); the profile of the penalised likelihood, cut at :data:`MARGIN` times the chi-square quantile, keeps the
    interval honest for gentle slopes. Where the whole transition fits between two cells their gap is all that is known,
    and the interval covers at least that. Trials are taken as independent: where signals share a dictionary see
    :func:`expander_theory.statistics.bootstrap_boundary`; whether the logistic form holds is tested by
    :func:`expander_theory.statistics.goodness_of_fit`. Source: Firth 1993; Heinze and Schemper 2002.

    Args:
        coordinate: t of each cell, finite, at least two different ones; counts of equal t are added.
        successes, trials: counts of each cell; cells without trials are left out.

    Raises:
        InvalidArgument: counts out of range, different lengths, a coordinate that is not finite, fewer than
            two different coordinates with trials, or level outside (0, 1).
    """
    require(0 < level < 1, "level", level, "must be in (0, 1)")
    t, x, total = summed_cells(*checked_counts(coordinate, successes, trials))
    status, fit = located(t, x, total)
    if fit is None:
        return Boundary(status)
    centre, slope = fit.centre, fit.slope
    low, high = fit.interval(level)
    below, above = float(t[t <= centre].max()), float(t[t >= centre].min())
    if -slope * (above - below) > UNRESOLVED:
        low, high = min(low, below), max(high, above)
    return Boundary("fitted", centre, low, high, slope)


UNRESOLVED = 4.0
"""A fall of logit p by more than this between two neighbouring cells (0.88 to 0.12) is not resolved by the grid."""

MARGIN = 1.1
"""Allowance for the likelihood ratio to exceed its chi-square limit, as it does where trials are few, and where a
schedule chose them by earlier outcomes: with 1, the 95 % interval after FindBoundary held in 0.939 to 0.950 of the
sweeps of experiments/coverage.py with gentle slopes."""

Floats = NDArray[np.float64]


def checked_counts(coordinate: ArrayLike, successes: ArrayLike, trials: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Coordinate, successes and trials as float64, where there are trials.

    Raises:
        InvalidArgument: as :func:`fit_boundary`.
    """
    t, x, total = (np.asarray(v, float).ravel() for v in (coordinate, successes, trials))
    require(t.size == x.size == total.size, "coordinate", f"of length {t.size}", "must be as long as the counts")
    require(bool(np.isfinite(t).all()), "coordinate", t.tolist(), "must be finite")
    require(bool(((x >= 0) & (x <= total)).all()), "successes", x.tolist(), "must lie in 0..trials")
    t, x, total = (v[total > 0] for v in (t, x, total))
    require(np.unique(t).size >= 2, "coordinate", t.tolist(), "must hold at least two different values with trials")
    return t, x, total


def summed_cells(t: Floats, x: Floats, total: Floats) -> tuple[Floats, Floats, Floats]:
    """The different coordinates, ascending, with the sums of checked counts."""
    cells, cell = np.unique(t, return_inverse=True)
    return cells, np.bincount(cell, x).astype(float), np.bincount(cell, total).astype(float)


def located(t: Floats, x: Floats, total: Floats) -> tuple[BoundaryStatus, FirthFit | None]:
    """The fit of checked cells, or why it has no boundary on the grid."""
    rate = x / total
    if rate.min() > 0.5:
        return "all_succeed", None
    if rate.max() < 0.5:
        return "all_fail", None
    fit = FirthFit(t, x, total)
    if not fit.slope < 0:
        return "not_decreasing", None
    if not t[0] <= fit.centre <= t[-1]:
        return "outside_grid", None
    return "fitted", fit


class FirthFit:
    """Penalised logistic fit of cells with ascending coordinate, in a standardised coordinate u inside.

    Attributes:
        u: the standardised coordinate.
        centre, slope: of logit p = slope (t - centre).
    """

    def __init__(self, t: Floats, x: Floats, total: Floats) -> None:
        self._shift, self._scale = float(t.mean()), float(t.std())
        self.u = (t - self._shift) / self._scale
        self._x, self._total = x, total
        self._intercept, self._slope, self._best = kernel.fit(self.u, x, total)
        self._centre = -self._intercept / self._slope if self._slope != 0 else float("nan")
        self.centre = self._shift + self._scale * self._centre
        self.slope = self._slope / self._scale

    def _refits(self, x: Floats, total: Floats) -> tuple[Floats, Floats]:
        """Intercepts and slopes (in u) of other counts on the same cells, rows of x and total."""
        intercepts, slopes = np.empty(x.shape[0]), np.empty(x.shape[0])
        kernel.refit(self.u, x, total, self._intercept, self._slope, intercepts, slopes)
        return intercepts, slopes

    def centres(self, x: Floats, total: Floats) -> Floats:
        """50 % points of other counts on the same cells, rows of x and total; infinite where the rate does not fall."""
        intercepts, slopes = self._refits(x, total)
        falling = slopes < 0
        found = np.where(falling, -intercepts / np.where(falling, slopes, 1.0), np.inf)
        return self._shift + self._scale * found

    def rates(self, x: Floats | None = None, total: Floats | None = None) -> Floats:
        """Fitted rates of the cells, or for other counts on them; one row a data set."""
        if x is None or total is None:
            return expit(self._intercept + self._slope * self.u)[None]
        intercepts, slopes = self._refits(x, total)
        return expit(intercepts[:, None] + slopes[:, None] * self.u)

    def interval(self, level: float) -> tuple[float, float]:
        """Centres of a profile loss within MARGIN/2 chi-square quantiles (one degree of freedom) of the best."""
        allowed = self._best + MARGIN * float(chdtri(1, 1 - level)) / 2
        low, high = self._end(-1, allowed), self._end(1, allowed)
        return self._shift + self._scale * low, self._shift + self._scale * high

    def _end(self, side: int, allowed: float) -> float:
        def excess(centre: float) -> float:
            return kernel.profile(centre, self.u, self._x, self._total) - allowed

        width = float(np.ptp(self.u))
        inside = self._centre
        for step in np.linspace(0.02, 3, 60) * width:
            outside = self._centre + side * float(step)
            if excess(outside) > 0:
                return float(brentq(excess, inside, outside, xtol=1e-7))  # type: ignore[arg-type]
            inside = outside
        return side * float("inf")
