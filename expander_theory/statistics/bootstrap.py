"""Resampling around the fitted boundary: a band where signals share dictionaries, and a test of the logistic form."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtri, stdtrit, xlogy

from expander_theory.base import Seed, generator, require, require_int
from expander_theory.statistics.boundary import Boundary, FirthFit, checked_counts, fit_boundary, located, summed_cells

Floats = NDArray[np.float64]

LEAST_DICTIONARIES = 5
"""In every cell; with fewer, their spread is not known well enough for a band that covers."""


def bootstrap_boundary(
    coordinate: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    *,
    seed: Seed,
    replicates: int = 999,
    level: float = 0.95,
) -> Boundary:
    """The fit of :func:`expander_theory.statistics.fit_boundary` with a cluster-bootstrap band of its 50 % point.

    Signals that share a dictionary are correlated, so the dictionary is the unit (THEORY.md STAT-2). Within each cell
    of G dictionaries, G - 1 are drawn with replacement and their counts weighted G/(G - 1) (which makes the bootstrap
    variance unbiased), and the boundary is fitted again. The band is the ``level`` quantile of
    |refitted - fitted centre| on either side, times t/z sqrt((f + 2)/f): Student's over the normal quantile at
    Satterthwaite's degrees of freedom f of the dictionaries' influences, and two fitted parameters. It is never less
    than the profile interval of independent trials, which also holds what all dictionaries hide by agreeing.
    Source: Rao and Wu 1988; Satterthwaite 1946; Davison and Hinkley 1997, section 3.8. That it covers is
    checked by simulation (``experiments/coverage.py``).

    Args:
        coordinate, successes, trials: one entry a dictionary, each dictionary in one cell only; cells are the different
            coordinates. Entries without trials are left out.
        seed: of the resampling.
        replicates: at least 99.
        level: in (0, 1).

    Returns:
        as :func:`fit_boundary`; or with status "too_few_dictionaries" where some cell has fewer than
        :data:`LEAST_DICTIONARIES`.

    Raises:
        InvalidArgument: as :func:`fit_boundary`, or replicates below 99.
    """
    require(require_int("replicates", replicates) >= 99, "replicates", replicates, "must be at least 99")
    plain = fit_boundary(coordinate, successes, trials, level=level)
    t, x, total = checked_counts(coordinate, successes, trials)
    _, cell, count = np.unique(t, return_inverse=True, return_counts=True)
    if count.min() < LEAST_DICTIONARIES:
        return Boundary("too_few_dictionaries")
    if plain.status != "fitted":
        return plain
    _, fit = located(*summed_cells(t, x, total))
    assert fit is not None
    freedom = _degrees_of_freedom(fit, t, x, total, cell)
    if freedom == 0:  # every cell's dictionaries agree
        return plain
    found = fit.centres(*_resampled(x, total, cell, count, replicates, generator(seed, "cluster bootstrap")))
    inflation = stdtrit(freedom, (1 + level) / 2) / ndtri((1 + level) / 2) * np.sqrt((freedom + 2) / freedom)
    half = float(np.quantile(np.abs(found - fit.centre), level, method="higher") * inflation)
    return replace(plain, low=min(plain.low, fit.centre - half), high=max(plain.high, fit.centre + half))


def _resampled(
    x: Floats, total: Floats, cell: NDArray[np.intp], count: NDArray[np.intp], replicates: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Successes and trials of each cell, shape (replicates, cells), of resampled dictionaries."""
    shape = (replicates, count.size)
    successes, trials = np.empty(shape), np.empty(shape)
    for i, g in enumerate(count):
        weights = rng.multinomial(g - 1, np.full(g, 1 / g), size=replicates) * (g / (g - 1))
        successes[:, i], trials[:, i] = weights @ x[cell == i], weights @ total[cell == i]
    return np.minimum(successes, trials), trials  # rounding


def _degrees_of_freedom(fit: FirthFit, t: Floats, x: Floats, total: Floats, cell: NDArray[np.intp]) -> float:
    """Satterthwaite's, (sum v)^2 / sum v^2/(G - 1), v the variance of the influences of a cell's G dictionaries.

    To first order a dictionary moves the fitted line by I^{-1} (1, t - centre)^T (x - total p), and the centre by the
    intercept's part over -slope. 0 where no dictionaries of a cell differ.
    """
    p = expit(fit.slope * (t - fit.centre))
    design = np.stack([np.ones_like(t), t - fit.centre])
    information = (design * (total * p * (1 - p))) @ design.T
    influence = (np.linalg.solve(information, [-1 / fit.slope, 0.0]) @ design) * (x - total * p)
    count = np.bincount(cell)
    spread = influence - (np.bincount(cell, influence) / count)[cell]
    v = np.bincount(cell, spread**2) * count / (count - 1)
    largest = v.max()
    return float((v / largest).sum() ** 2 / ((v / largest) ** 2 / (count - 1)).sum()) if largest > 0 else 0.0


@dataclass(frozen=True)
class GoodnessOfFit:
    """How well one logistic curve describes the cells.

    Attributes:
        deviance: 2 sum_i [x log(x/(n p)) + (n - x) log((n - x)/(n (1 - p)))] of the fit.
        degrees: cells less two.
        p_value: share of data sets drawn from the fit whose refit has no less deviance, the data included.
    """

    deviance: float
    degrees: int
    p_value: float


def goodness_of_fit(
    coordinate: ArrayLike, successes: ArrayLike, trials: ArrayLike, *, seed: Seed, replicates: int = 999
) -> GoodnessOfFit | None:
    """Parametric-bootstrap test of the logistic form of :func:`expander_theory.statistics.fit_boundary`.

    Counts are drawn from the fitted rates at the same numbers of trials, fitted again, and their deviances compared.
    (The chi-square law of the deviance fails where a cell expects few successes or failures.) A small p-value means
    that the curve is not logistic in this coordinate, or that trials are correlated: where signals share dictionaries
    the test is of no use. Source: Efron and Tibshirani 1993, chapter 16.

    Args:
        coordinate, successes, trials: as :func:`fit_boundary`.
        seed: of the draws.
        replicates: at least 99.

    Returns:
        None where there is no fit (any status but "fitted") or there are fewer than three cells.

    Raises:
        InvalidArgument: as :func:`fit_boundary`, counts that are not whole, or replicates below 99.
    """
    require(require_int("replicates", replicates) >= 99, "replicates", replicates, "must be at least 99")
    t, x, total = summed_cells(*checked_counts(coordinate, successes, trials))
    require(bool((total == np.floor(total)).all()), "trials", total.tolist(), "must be whole numbers")
    _, fit = located(t, x, total)
    if fit is None or t.size < 3:
        return None
    rng = generator(seed, "goodness of fit")
    drawn = rng.binomial(total.astype(np.int64), fit.rates()[0], size=(replicates, t.size)).astype(float)
    deviance = float(_deviance(x, total, fit.rates())[0])
    others = _deviance(drawn, total, fit.rates(drawn, np.broadcast_to(total, drawn.shape).copy()))
    at_least = int((others >= deviance * (1 - 1e-9)).sum())
    return GoodnessOfFit(deviance, t.size - 2, (1 + at_least) / (1 + replicates))


def _deviance(x: Floats, total: Floats, p: Floats) -> Floats:
    fitted = xlogy(x, p) + xlogy(total - x, 1 - p)
    saturated = xlogy(x, x / total) + xlogy(total - x, 1 - x / total)
    return 2 * np.maximum(saturated - fitted, 0.0).sum(axis=-1)
