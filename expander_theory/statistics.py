"""Intervals for success rates and the fitted 50 % boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import betaincinv, log_expit, logsumexp
from scipy.stats import norm

from expander_theory.errors import require


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike, *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson score interval of a binomial rate, for plots at fixed N.

    Its mean coverage is near the level, its least coverage is not (about 0.84 at 0.95, THEORY.md
    STAT-1): use Clopper-Pearson for claims.

    Args:
        successes, trials: broadcastable counts; no trials give (0, 1).

    Raises:
        InvalidArgument: successes outside 0..trials, or level outside (0, 1).
    """
    x, total = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    require(bool(((x >= 0) & (x <= total)).all()), "successes", successes, "must lie in 0..trials")
    require(0 < level < 1, "level", level, "must be in (0, 1)")
    z2 = _quantile(level) ** 2
    safe = np.maximum(total, 1)
    p = x / safe
    centre = (p + z2 / (2 * safe)) / (1 + z2 / safe)
    half = np.sqrt(z2 * (p * (1 - p) / safe + z2 / (4 * safe**2))) / (1 + z2 / safe)
    low = np.where(total > 0, np.where(x == 0, 0.0, centre - half), 0.0)
    high = np.where(total > 0, np.where(x == total, 1.0, centre + half), 1.0)
    return low, high


def clopper_pearson_interval(
    successes: ArrayLike, trials: ArrayLike, *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact interval of a binomial rate, for claims: it covers every rate with at least the level.

    [Beta^{-1}(a/2; x, N - x + 1), Beta^{-1}(1 - a/2; x + 1, N - x)], a = 1 - level; either end alone is a
    one-sided limit of level 1 - a/2. Source: Clopper and Pearson 1934; THEORY.md STAT-1.

    Args:
        successes, trials: broadcastable counts; no trials give (0, 1).

    Raises:
        InvalidArgument: successes outside 0..trials, or level outside (0, 1).
    """
    x, total = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    require(bool(((x >= 0) & (x <= total)).all()), "successes", successes, "must lie in 0..trials")
    require(0 < level < 1, "level", level, "must be in (0, 1)")
    tail = (1 - level) / 2
    low = np.where(x > 0, betaincinv(np.where(x > 0, x, 1), total - x + 1, tail), 0.0)
    high = np.where(x < total, betaincinv(x + 1, np.where(x < total, total - x, 1), 1 - tail), 1.0)
    return low, high


def _quantile(level: float) -> float:
    """Two-sided standard normal quantile."""
    return float(norm.ppf((1 + level) / 2))  # type: ignore[arg-type]


BoundaryStatus = Literal["fitted", "all_succeed", "all_fail", "not_decreasing", "outside_grid"]


@dataclass(frozen=True)
class Boundary:
    """Where the success rate crosses 1/2, along one increasing coordinate (k or k/m).

    Attributes:
        status: "fitted"; otherwise there is no boundary to report and the numbers are NaN:
            "all_succeed" or "all_fail" (every cell on one side of 1/2), "not_decreasing" (the rate does
            not fall), "outside_grid" (the fitted line crosses 1/2 beyond the cells).
        centre: the 50 % point.
        low, high: 95 % profile-likelihood interval; infinite on a side that the data leave open.
        slope: d logit p / d coordinate at the fit, negative.
    """

    status: BoundaryStatus
    centre: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    slope: float = float("nan")


def fit_boundary(coordinate: ArrayLike, successes: ArrayLike, trials: ArrayLike) -> Boundary:
    """Logistic fit logit p = b (c - t) with Firth's (Jeffreys) penalty; its 50 % point c with a profile interval.

    The penalty keeps the fit finite when all cells succeed below some t and fail above (complete
    separation; THEORY.md STAT-3); the profile of the penalised likelihood keeps the interval honest
    for gentle slopes. Where the whole transition fits between two cells their gap is all that is known,
    and the interval covers at least that. Source: Firth 1993; Heinze and Schemper 2002.

    Args:
        coordinate: t of each cell, finite, at least two different ones.
        successes, trials: counts of each cell; cells without trials are left out.

    Raises:
        InvalidArgument: counts out of range, different lengths, a coordinate that is not finite, or
            fewer than two different coordinates with trials.
    """
    t, x, total = (np.asarray(v, float).ravel() for v in (coordinate, successes, trials))
    require(t.size == x.size == total.size, "coordinate", f"of length {t.size}", "must be as long as the counts")
    require(bool(np.isfinite(t).all()), "coordinate", t.tolist(), "must be finite")
    require(bool(((x >= 0) & (x <= total)).all()), "successes", x.tolist(), "must lie in 0..trials")
    t, x, total = (v[total > 0] for v in (t, x, total))
    require(np.unique(t).size >= 2, "coordinate", t.tolist(), "must hold at least two different values with trials")
    rate = x / total
    if rate.min() > 0.5:
        return Boundary("all_succeed")
    if rate.max() < 0.5:
        return Boundary("all_fail")

    shift, scale = t.mean(), t.std()
    fit = _Firth((t - shift) / scale, x, total)
    if fit.slope >= 0:
        return Boundary("not_decreasing")
    if not fit.u.min() <= fit.centre <= fit.u.max():
        return Boundary("outside_grid")
    centre, slope = float(shift + scale * fit.centre), float(fit.slope / scale)
    low, high = (float(shift + scale * end) for end in fit.interval())
    below, above = float(t[t <= centre].max()), float(t[t >= centre].min())
    if -slope * (above - below) > _UNRESOLVED:
        low, high = min(low, below), max(high, above)
    return Boundary("fitted", centre, low, high, slope)


_UNRESOLVED = 4.0
"""A fall of logit p by more than this between two neighbouring cells (0.88 to 0.12) is not resolved by the grid."""


class _Firth:
    """Penalised logistic fit in a standardised coordinate u; maximised and profiled with scipy."""

    def __init__(self, u: NDArray[np.float64], x: NDArray[np.float64], total: NDArray[np.float64]) -> None:
        self.u, self._x, self._total = u, x, total
        start = np.array([0.0, -1.0])
        found = minimize(
            self._loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
        )
        intercept, self.slope = found.x
        self._best = float(found.fun)
        self.centre = -intercept / self.slope if self.slope != 0 else float("nan")

    def _loss(self, beta: NDArray[np.float64]) -> float:
        """-(log likelihood + log det(information) / 2)."""
        eta = beta[0] + beta[1] * self.u
        likelihood = (self._x * log_expit(eta) + (self._total - self._x) * log_expit(-eta)).sum()
        # log of the weights total p (1 - p), and det X'WX = sum_{i<j} w_i w_j (u_i - u_j)^2, kept in logs
        # so that a steep slope, where every weight is tiny, does not underflow.
        weight = np.log(self._total) + log_expit(eta) + log_expit(-eta)
        i, j = np.triu_indices(self.u.size, 1)
        apart = self.u[i] != self.u[j]
        i, j = i[apart], j[apart]
        determinant: Any = logsumexp(weight[i] + weight[j] + 2 * np.log(np.abs(self.u[i] - self.u[j])))
        return float(-(likelihood + determinant / 2))

    def _profile(self, centre: float) -> float:
        """Least loss over all negative slopes with the 50 % point at ``centre``."""

        def at(log_slope: float) -> float:
            b = np.exp(log_slope)
            return self._loss(np.array([b * centre, -b]))

        grid = np.linspace(-5, 9, 29)
        best = int(np.argmin([at(s) for s in grid]))
        bounds = (grid[max(0, best - 1)], grid[min(28, best + 1)])
        found: Any = minimize_scalar(at, bounds=bounds, method="bounded")
        return float(found.fun)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Centres whose profile lies within the chi-square quantile of the best."""
        allowed = self._best + _quantile(level) ** 2 / 2  # chi-square, one degree of freedom
        return self._end(-1, allowed), self._end(1, allowed)

    def _end(self, side: int, allowed: float) -> float:
        width = float(np.ptp(self.u))
        inside = self.centre
        for step in np.linspace(0.02, 3, 60) * width:
            outside = self.centre + side * step
            if self._profile(outside) > allowed:
                end: Any = brentq(lambda c: self._profile(c) - allowed, inside, outside, xtol=1e-6)
                return float(end)
            inside = outside
        return side * float("inf")
