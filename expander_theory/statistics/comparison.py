"""Which of two solvers succeeds more often, from trials that both were given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from expander_theory.base import require, require_int
from expander_theory.statistics.confidence_sequence import bounded_mean_sequence


@dataclass(frozen=True)
class Comparison:
    """Success of a first and a second solver on the same trials.

    Attributes:
        trials: pairs of outcomes.
        both, first_only, second_only: successes; neither succeeded in the rest.
        difference: rate of the first less rate of the second.
        low, high: interval of the difference.
        p_value: exact, two-sided, of "neither is better".
        dictionaries: independent units: as many as trials where none share a dictionary.
    """

    trials: int
    both: int
    first_only: int
    second_only: int
    difference: float
    low: float
    high: float
    p_value: float
    dictionaries: int


def compare_paired(
    first: Sequence[str] | ArrayLike, second: Sequence[str] | ArrayLike, *, shared: int = 1, level: float = 0.95
) -> Comparison:
    """Compare two solvers on the same instances (THEORY.md STAT-2: tasks of equal ``instance_id``, trial by trial).

    p-value: under "neither is better" the two solvers' outcomes may as well be swapped: by a fair coin for each trial,
    or, with ``shared`` signals to a dictionary, one coin a dictionary. The sum of the dictionaries' differences
    D_g = first - second under independent signs is computed exactly, and p is the probability of at least
    |sum D_g|. With one signal a dictionary this is McNemar's exact test: the sign test on discordant pairs.

    Interval of the difference, one signal a dictionary: with p, q the rates of the two kinds of discordant pairs after
    3/2 pairs are added to each, p - q +- t sqrt((p + q - (p - q)^2)/(N + 3)), t Student's quantile of N degrees of
    freedom; enumeration at level 0.95 finds its coverage above 0.94 for all p, q and N (tests). With shared
    dictionaries: :func:`expander_theory.statistics.bounded_mean_sequence` of D_g / shared, which covers
    whatever the law of the dictionaries, and is wide for few: +-0.3 for 20, +-0.07 for 100 (Student's interval covers
    less than 0.9 where rare dictionaries decide). One signal a dictionary is the better design. Source: McNemar 1947;
    Fisher 1935; Agresti and Min 2005 and Bonett and Price 2012, who add 1/2 and 1.

    Args:
        first, second: outcomes of the trials in order: blocks of "0" and "1" as schedules and ledgers have them, or
            booleans, of equal number.
        shared: consecutive trials that share a dictionary: ``signals_per_dictionary`` of the task.
        level: in (0, 1).

    Raises:
        InvalidArgument: no trials, numbers that differ, outcomes that are neither 0 nor 1, trials that are not whole
            dictionaries, or level outside (0, 1).
    """
    require(0 < level < 1, "level", level, "must be in (0, 1)")
    a, b = _outcomes("first", first), _outcomes("second", second)
    require(a.size > 0, "first", "no outcomes", "must hold at least one")
    require(a.size == b.size, "second", f"{b.size} outcomes", f"must be as many as the first's, {a.size}")
    require(require_int("shared", shared) >= 1, "shared", shared, "must be at least 1")
    require(a.size % shared == 0, "shared", shared, f"must divide the number of trials, {a.size}")
    both, first_only, second_only = int((a & b).sum()), int((a & ~b).sum()), int((b & ~a).sum())
    differences = (a.astype(np.int64) - b).reshape(-1, shared).sum(axis=1)
    low, high = _independent_interval(first_only, second_only, a.size, level)
    if shared > 1:
        low, high = (2 * end - 1 for end in bounded_mean_sequence((1 + differences / shared) / 2, level=level))
    return Comparison(
        trials=a.size,
        both=both,
        first_only=first_only,
        second_only=second_only,
        difference=(first_only - second_only) / a.size,
        low=low,
        high=high,
        p_value=sign_flip_p_value(differences),
        dictionaries=differences.size,
    )


def sign_flip_p_value(differences: ArrayLike) -> float:
    """P(|sum_g s_g D_g| >= |sum_g D_g|) for independent fair signs s_g, exactly: the law of the sum by convolution.

    Args:
        differences: whole numbers D_g, one a dictionary.

    Raises:
        InvalidArgument: numbers that are not whole.
    """
    d = np.asarray(differences, float).ravel()
    require(bool((d == np.floor(d)).all()), "differences", d.tolist(), "must be whole numbers")
    steps = np.abs(d[d != 0]).astype(np.int64)
    law = np.ones(1)  # of (sum + total) / 2, in units of 1
    for step in steps:
        law = np.concatenate([law, np.zeros(step)]) + np.concatenate([np.zeros(step), law])
        law /= 2
    sums = 2 * np.arange(law.size) - steps.sum()
    return min(1.0, float(law[np.abs(sums) >= abs(int(d.sum()))].sum()))


def _outcomes(name: str, given: Sequence[str] | ArrayLike) -> NDArray[np.bool_]:
    values = np.asarray(given)
    if values.dtype.kind == "U":
        values = np.array(list("".join(values.ravel().tolist())))
        require(bool(np.isin(values, ["0", "1"]).all()), name, "".join(values[:20]), 'must hold only "0" and "1"')
        return values == "1"
    require(bool(np.isin(values, [0, 1]).all()), name, values.ravel()[:20].tolist(), "must hold only 0 and 1")
    return values.ravel().astype(bool)


def _independent_interval(first_only: int, second_only: int, trials: int, level: float) -> tuple[float, float]:
    total = trials + 2 * _PSEUDO
    p, q = (first_only + _PSEUDO) / total, (second_only + _PSEUDO) / total
    half = float(stdtrit(trials, (1 + level) / 2)) * math.sqrt((p + q - (p - q) ** 2) / total)
    return max(-1.0, p - q - half), min(1.0, p - q + half)


_PSEUDO = 1.5  # of 1, 3/2 and 2 the one whose least coverage is above 0.94 at every size
