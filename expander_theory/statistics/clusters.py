"""Trials that share a dictionary: how much success varies between dictionaries, and what such trials are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from expander_theory.base import require


@dataclass(frozen=True, order=True)
class Cluster:
    """Dictionaries with equal counts.

    Attributes:
        trials: on each of the dictionaries, at least 1.
        successes: on each, 0..trials.
        dictionaries: how many there are, at least 1.
    """

    trials: int
    successes: int
    dictionaries: int = 1

    def __post_init__(self) -> None:
        require(self.trials >= 1, "trials", self.trials, "must be at least 1")
        require(0 <= self.successes <= self.trials, "successes", self.successes, f"must lie in 0..{self.trials}")
        require(self.dictionaries >= 1, "dictionaries", self.dictionaries, "must be at least 1")


@dataclass(frozen=True)
class Variation:
    """Standard deviations of success, split into two parts.

    Attributes:
        between: over dictionaries, of a dictionary's success probability P; None for a single dictionary.
        within: of one trial on a given dictionary, sqrt(E P (1 - P)); None where no dictionary has two trials.
    """

    between: float | None
    within: float | None


def variation(groups: Sequence[Cluster]) -> Variation:
    """Method-of-moments split of the variance of success, from counts x_i of n_i on c dictionaries, N = sum n_i.

    One-way analysis of variance: MSW = sum x_i (n_i - x_i)/n_i / (N - c) estimates E P (1 - P), and with
    MSB = sum n_i (x_i/n_i - p)^2 / (c - 1), n_0 = (N - sum n_i^2/N)/(c - 1), the variance of P is
    (MSB - MSW)/n_0, 0 where that is negative. Without bias but for the floor at 0, whatever the law of P.
    Source: Searle, Casella and McCulloch, "Variance Components", section 3.6; Ridout et al. 1999 for binary data.
    """
    n, x, count = _columns(groups)
    total, dictionaries = (n * count).sum(), count.sum()
    if total == dictionaries:  # one trial each: the two cannot be told apart
        return Variation(None, None)
    within = float((count * x * (n - x) / n).sum() / (total - dictionaries))
    if dictionaries == 1:
        return Variation(None, within**0.5)
    p = (x * count).sum() / total
    between = (count * n * (x / n - p) ** 2).sum() / (dictionaries - 1)
    size = (total - (count * n**2).sum() / total) / (dictionaries - 1)
    return Variation(max(0.0, float((between - within) / size)) ** 0.5, within**0.5)


def effective_trials(groups: Sequence[Cluster], *, level: float = 0.95) -> float:
    """How many independent trials, each on a dictionary of its own, would fix the rate over the ensemble as well.

    p (1 - p)/v, with v the variance of the rate p = x/N over c dictionaries drawn independently, linearised:
    v = c/(c - 1) sum (x_i - p n_i)^2/N^2; times (z/t_{c-1})^2, the squared ratio of the normal and Student quantiles,
    since v rests on c values. At least 1 and at most N; N where every dictionary has one trial. Where all trials
    agree there is nothing to estimate v from, and c is given: what is left when success is decided by the dictionary
    alone. Binomial intervals are applied to this number with the same rate. Source: Korn and Graubard 1998.

    Args:
        groups: counts; none give 0.
        level: of the interval in which the number is used.
    """
    n, x, count = _columns(groups)
    total, dictionaries = float((n * count).sum()), float(count.sum())
    if total == dictionaries:
        return total
    p = (x * count).sum() / total
    if p in (0, 1) or dictionaries == 1:
        return dictionaries
    variance = dictionaries / (dictionaries - 1) * (count * (x - p * n) ** 2).sum() / total**2
    if variance == 0:
        return total
    tail = (1 + level) / 2
    ratio = float(norm.ppf(tail)) / float(t.ppf(tail, dictionaries - 1))  # type: ignore[arg-type]
    return float(min(total, max(1.0, ratio**2 * p * (1 - p) / variance)))


def _columns(groups: Sequence[Cluster]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array([(g.trials, g.successes, g.dictionaries) for g in groups], float).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]
