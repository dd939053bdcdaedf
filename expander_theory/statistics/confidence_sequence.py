"""Confidence sequences: intervals that hold at all numbers of trials at once, so that looking and stopping is free."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, expit

from expander_theory.base import require

Floats = NDArray[np.float64]


def confidence_sequence(
    successes: ArrayLike, trials: ArrayLike, *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Anytime-valid interval of the success rate of independent trials.

    {p : M(p) < 1/a}, a = 1 - level, where M(p) = B(S + 1/2, F + 1/2) / (B(1/2, 1/2) p^S (1 - p)^F) is the likelihood
    ratio of the Beta(1/2, 1/2) mixture against p after S successes and F failures: a martingale of mean 1 at the true
    p, so P(p is ever left out) <= a (Ville). It may be looked at after every trial, and trials may stop for any
    reason that they gave. Source: Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021.

    Args:
        successes, trials: broadcastable counts of whole trials; no trials give (0, 1).

    Raises:
        InvalidArgument: counts that are not whole or out of range, or level outside (0, 1).
    """
    x, total = _checked_counts(successes, trials, level)
    allowed = _log_mixture(x, total) + math.log(1 - level)
    return _lower_root(x, total, allowed), 1 - _lower_root(total - x, total, allowed)


def _lower_root(x: Floats, total: Floats, allowed: Floats) -> Floats:
    """The p below x/total of likelihood e^allowed; 0 where x = 0.

    Newton's method in t = logit p, where log p^x (1 - p)^(total - x) = x t - total log(1 + e^t) is concave: from
    t = allowed/x, where it is too small, it ascends to the root and never passes it.
    """
    t = allowed / np.maximum(x, 1)
    for _ in range(100):
        step = (allowed - x * t + total * np.logaddexp(0, t)) / np.where(x > 0, x - total * expit(t), 1.0)
        step = np.where(x > 0, step, 0.0)
        t = t + step
        if not (np.abs(step) > 1e-12).any():
            break
    return np.where(x > 0, expit(t), 0.0)


def _log_mixture(x: Floats, total: Floats) -> Floats:
    """Log of the probability of one sequence of outcomes under the Beta(1/2, 1/2) mixture."""
    return betaln(x + 0.5, total - x + 0.5) - math.log(math.pi)


def _checked_counts(successes: ArrayLike, trials: ArrayLike, level: float) -> tuple[Floats, Floats]:
    require(0 < level < 1, "level", level, "must be in (0, 1)")
    x, total = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    valid = (x >= 0) & (x <= total) & (x == np.floor(x)) & (total == np.floor(total))
    require(bool(valid.all()), "successes", successes, "must be whole numbers in 0..trials")
    return x, total


def bounded_mean_sequence(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Anytime-valid interval of the mean of independent values in [0, 1], such as success fractions of dictionaries.

    Signals that share a dictionary are correlated, so the dictionary is the unit (THEORY.md STAT-2). The interval holds
    the means m that no gambler refutes: with predictable bets b_t > 0 the capitals
    K+ = prod_t (1 + min(b_t, 1/(2 m)) (x_t - m)) and K- = prod_t (1 - min(b_t, 1/(2 - 2 m)) (x_t - m)) are martingales
    at the true mean, and m stays while max(K+, K-)/2 < 1/(1 - level). The bets shrink as 1/sqrt(t log t) and with the
    variance v seen before: b_t^2 = 2 log(2/(1 - level)) / (v_{t-1} t log(1 + t)). Where all values are 0 or 1, the Beta
    mixture of :func:`confidence_sequence` is narrower. Source: Waudby-Smith and Ramdas 2024, theorem 3.

    Args:
        values: in the order of observation, shape (units,); none give (0, 1).

    Raises:
        InvalidArgument: values outside [0, 1], or level outside (0, 1).
    """
    require(0 < level < 1, "level", level, "must be in (0, 1)")
    x = np.asarray(values, float).ravel()
    require(bool(((x >= 0) & (x <= 1)).all()), "values", x.tolist(), "must lie in [0, 1]")
    if x.size == 0:
        return 0.0, 1.0
    bets = _bets(x, level)
    return _lower_end(x, bets, level), 1 - _lower_end(1 - x, bets, level)


def _bets(x: Floats, level: float) -> Floats:
    """Predictable plug-in bets: mean and variance of the values before each, started at 1/2 and 1/4 as by one value."""
    t = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    return np.sqrt(2 * math.log(2 / (1 - level)) / (before * t * np.log1p(t)))


def _lower_end(x: Floats, bets: Floats, level: float) -> float:
    """Where K+, which falls with m, comes down to the bound: the largest refuted mean, 0 if none is."""

    def refuted(m: float) -> bool:
        return float(np.log1p(np.minimum(bets, 0.5 / m) * (x - m)).sum()) >= math.log(2 / (1 - level))

    outside, inside = 0.0, 1.0
    for _ in range(50):  # bisection
        middle = (outside + inside) / 2
        if refuted(middle):
            outside = middle
        else:
            inside = middle
    return outside
