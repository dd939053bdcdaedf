"""Intervals for success rates at a fixed number of trials, and (from :mod:`.boundary`) the fitted 50 % boundary."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

from expander_theory.base import Seed, generator, require, require_int
from expander_theory.statistics.boundary import Boundary, BoundaryStatus, fit_boundary

__all__ = ["Boundary", "BoundaryStatus", "clopper_pearson_interval", "fit_boundary", "wilson_interval"]


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
    z2 = ndtri((1 + level) / 2) ** 2
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


def bootstrap_mean(
    values: ArrayLike, *, seed: Seed, replicates: int = 2000, level: float = 0.95
) -> tuple[float, float, float]:
    """The mean of independent values, and the percentile bootstrap interval of it.

    Source: Efron and Tibshirani 1993, chapter 13. With one value, or equal ones, the interval is the mean itself.

    Args:
        values: (count,), finite, at least one.
        seed: of the resampling.
        replicates: resamples, at least 99.
        level: in (0, 1).

    Returns:
        mean, lower and upper end.

    Raises:
        InvalidArgument: no values, or such as are not finite; replicates or level out of range.
    """
    x = np.asarray(values, float)
    sound = x.ndim == 1 and x.size > 0 and bool(np.isfinite(x).all())
    require(sound, "values", f"array of shape {x.shape}", "must be finite numbers, at least one")
    require(require_int("replicates", replicates) >= 99, "replicates", replicates, "must be at least 99")
    require(0 < level < 1, "level", level, "must be in (0, 1)")
    rng = generator(seed, "bootstrap of a mean")
    means = np.array([x[rng.integers(x.size, size=x.size)].mean() for _ in range(replicates)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(x.mean()), float(low), float(high)
