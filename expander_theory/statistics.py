"""Intervals for success rates and the fitted 50 % boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
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
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    safe = np.maximum(total, 1)
    p = x / safe
    centre = (p + z2 / (2 * safe)) / (1 + z2 / safe)
    half = np.sqrt(z2 * (p * (1 - p) / safe + z2 / (4 * safe**2))) / (1 + z2 / safe)
    low = np.where(total > 0, np.where(x == 0, 0.0, centre - half), 0.0)
    high = np.where(total > 0, np.where(x == total, 1.0, centre + half), 1.0)
    return low, high


@dataclass(frozen=True)
class Boundary:
    """Where the success rate crosses 1/2, along one increasing coordinate (k or k/m).

    Attributes:
        status: "fitted"; "all_succeed" or "all_fail" when the data lie on one side of 1/2 (then the
            boundary is outside the grid and the numbers are NaN).
        centre: the 50 % point.
        low, high: 95 % delta-method interval.
        slope: d logit p / d coordinate at the fit, negative.
    """

    status: Literal["fitted", "all_succeed", "all_fail"]
    centre: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    slope: float = float("nan")


def fit_boundary(coordinate: ArrayLike, successes: ArrayLike, trials: ArrayLike) -> Boundary:
    """Logistic fit logit p = a - b t with Firth's (Jeffreys) penalty, and its 50 % point a / b.

    The penalty keeps the fit finite when all cells succeed below some t and fail above
    (complete separation; THEORY.md STAT-3). Source: Firth 1993; Heinze and Schemper 2002.

    Args:
        coordinate: t of each cell, at least two different ones.
        successes, trials: counts of each cell.

    Raises:
        InvalidArgument: counts out of range, or fewer than two distinct coordinates with trials.
    """
    t, x, total = (np.asarray(v, float).ravel() for v in (coordinate, successes, trials))
    t, x, total = (v[total > 0] for v in (t, x, total))
    require(np.unique(t).size >= 2, "coordinate", t.tolist(), "must hold at least two different values with trials")
    require(bool(((x >= 0) & (x <= total)).all()), "successes", x.tolist(), "must lie in 0..trials")
    rate = x / total
    if rate.min() > 0.5:
        return Boundary("all_succeed")
    if rate.max() < 0.5:
        return Boundary("all_fail")

    shift, scale = t.mean(), t.std()
    design = np.stack([np.ones_like(t), (t - shift) / scale], axis=1)
    beta = np.zeros(2)
    for _ in range(200):
        p = expit(design @ beta)
        weight = total * p * (1 - p)
        information = design.T @ (weight[:, None] * design)
        covariance = np.linalg.inv(information)
        leverage = weight * np.einsum("ij,jk,ik->i", design, covariance, design)
        score = design.T @ (x - total * p + leverage * (0.5 - p))
        step = covariance @ score
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-300))  # bounded: the fit may be steep
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    intercept, slope = beta
    if slope >= 0:  # success does not fall with t anywhere: there is no boundary to report
        return Boundary("all_succeed" if rate.mean() > 0.5 else "all_fail")
    centre = -intercept / slope
    gradient = np.array([-1 / slope, intercept / slope**2])
    half = float(norm.ppf(0.975)) * float(np.sqrt(gradient @ covariance @ gradient))
    place = lambda u: float(shift + scale * u)  # noqa: E731
    return Boundary("fitted", place(centre), place(centre - half), place(centre + half), float(slope / scale))
