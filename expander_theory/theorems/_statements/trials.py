"""Section E of THEORY.md: statistics of recovery trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_expit
from scipy.stats import binom

from expander_theory.base import generator
from expander_theory.dictionaries import consecutive_sums
from expander_theory.statistics import clopper_pearson_interval, fit_boundary, wilson_interval
from expander_theory.theorems._statements.pursuit.margins import pursuit_margin
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import erc
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

# ---- STAT-1

IntervalOf = Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True)
class Trials:
    """N independent trials with success rate p, and the level of an interval for p."""

    N: int
    p: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"N = {self.N}, p = {self.p:.6g}, level {self.level}"


@lru_cache(maxsize=1024)
def _limits(interval: IntervalOf, N: int, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return interval(np.arange(N + 1), N, level=level)


def coverage(interval: IntervalOf, trials: Trials) -> float:
    """P(low <= p <= high), the binomial summed over all counts."""
    low, high = _limits(interval, trials.N, trials.level)
    counts = np.flatnonzero((low <= trials.p) & (trials.p <= high))
    return float(binom.pmf(counts, trials.N, trials.p).sum())


def _covers(interval: IntervalOf) -> Callable[[Trials], Slack]:
    return lambda trials: nonnegative(coverage(interval, trials) - trials.level)


@st.composite
def _trials(draw: Any) -> Trials:
    """Rates on a grid, near 0 or 1 on the scale of 1/N, and just beside ends of Clopper-Pearson intervals."""
    N, level = draw(st.integers(1, 200)), draw(st.sampled_from([0.95, 0.9, 0.99]))
    kind = draw(st.sampled_from(["grid", "rare", "end"]))
    if kind == "grid":
        p = draw(st.integers(0, 1000)) / 1000
    elif kind == "rare":
        p = min(1.0, draw(st.integers(1, 300)) / (100 * N))
    else:
        end = _limits(clopper_pearson_interval, N, level)[draw(st.integers(0, 1))][draw(st.integers(0, N))]
        p = float(np.clip(end + draw(st.sampled_from([-1e-9, 0, 1e-9])), 0, 1))
    return Trials(N, 1 - p if draw(st.booleans()) else p, level)


STAT_1 = Statement(
    "STAT-1",
    "The Clopper-Pearson interval [Beta^-1(a/2; x, N-x+1), Beta^-1(1-a/2; x+1, N-x)] covers every rate p with "
    "probability at least 1 - a.",
    _covers(clopper_pearson_interval),
    latex=r"\min_p P_p(\mathrm{low} \le p \le \mathrm{high}) \ge 1 - a",
    source="Clopper, Pearson 1934",
    cost="none / N + 1 terms",
    check="the binomial summed, also beside the ends of intervals, where coverage jumps",
    instances=_trials,
)
STAT_1 = STAT_1.with_mutants(
    STAT_1.mutant(
        "Wilson", "Wilson's interval covers every p with at least 1 - a.", conclusion=_covers(wilson_interval)
    )
)


# ---- STAT-2


@dataclass(frozen=True)
class TwoLevels:
    """Dictionaries that succeed at rate p1 (with probability share) or p2, and signals that share a dictionary."""

    p1: Fraction
    p2: Fraction
    share: Fraction
    dictionaries: int
    signals: int

    def __str__(self) -> str:
        return (
            f"{self.dictionaries} dictionaries with rate {self.p1} (probability {self.share}) or {self.p2}, "
            f"{self.signals} signals each"
        )


def rate_variance(q: TwoLevels) -> Fraction:
    """Variance of successes/N, N = dictionaries * signals, from the whole distribution of the successes."""

    def binomial(p: Fraction) -> list[Fraction]:
        return [math.comb(q.signals, i) * p**i * (1 - p) ** (q.signals - i) for i in range(q.signals + 1)]

    one = [q.share * a + (1 - q.share) * b for a, b in zip(binomial(q.p1), binomial(q.p2), strict=True)]
    total = [Fraction(1)]
    for _ in range(q.dictionaries):
        grown = [Fraction(0)] * (len(total) + q.signals)
        for i, a in enumerate(total):
            for j, b in enumerate(one):
                grown[i + j] += a * b
        total = grown
    N = q.dictionaries * q.signals
    mean = sum((p * Fraction(x, N) for x, p in enumerate(total)), Fraction(0))
    return sum((p * (Fraction(x, N) - mean) ** 2 for x, p in enumerate(total)), Fraction(0))


def _naive_variance(q: TwoLevels) -> Fraction:
    p = q.share * q.p1 + (1 - q.share) * q.p2
    return p * (1 - p) / (q.dictionaries * q.signals)


def _clustered(q: TwoLevels) -> Slack:
    between = q.share * (1 - q.share) * (q.p1 - q.p2) ** 2
    stated = _naive_variance(q) + (q.signals - 1) * between / (q.dictionaries * q.signals)
    true = rate_variance(q)
    return least(nonnegative(-abs(true - stated), how="formula"), nonnegative(true - _naive_variance(q), how="naive"))


def _two_levels() -> st.SearchStrategy[TwoLevels]:
    rates = st.fractions(0, 1, max_denominator=10)
    return st.builds(TwoLevels, rates, rates, rates, st.integers(1, 3), st.integers(1, 4))


STAT_2 = Statement(
    "STAT-2",
    "The unit of replication is the dictionary. With r signals for each of some dictionaries, N in all, whose success "
    "rates vary with variance V: Var(successes/N) = [p(1-p) + (r-1) V]/N, at least the binomial p(1-p)/N.",
    _clustered,
    latex=r"\mathrm{Var}(\hat p) = \frac{p(1-p) + (r-1)V}{N} \ge \frac{p(1-p)}{N}",
    source="law of total variance; THEORY.md STAT-2",
    cost="none / exact distribution",
    check="two rates of dictionaries, the distribution of the successes in rationals",
    instances=_two_levels,
)
STAT_2 = STAT_2.with_mutants(
    STAT_2.mutant(
        "independent signals",
        "Signals that share a dictionary count as independent: the variance is at most p(1-p)/N.",
        conclusion=lambda q: nonnegative(_naive_variance(q) - rate_variance(q)),
    )
)


# ---- STAT-3


@dataclass(frozen=True)
class Line:
    """A fit logit p = a - b k and the covariance of (a, b)."""

    a: float
    b: float
    V_aa: float
    V_ab: float
    V_bb: float

    def __str__(self) -> str:
        return f"logit p = {self.a:g} - {self.b:g} k, covariance [[{self.V_aa:g}, {self.V_ab:g}], [., {self.V_bb:g}]]"


def centre_variance(line: Line) -> float:
    """Delta-method variance of k50 = a/b."""
    centre = line.a / line.b
    return (line.V_aa - 2 * centre * line.V_ab + centre**2 * line.V_bb) / line.b**2


def _differentiated(line: Line, sign: float = 1.0) -> Slack:
    """1e-6 - relative difference from the variance by central differences of a/b."""
    step_a, step_b = 1e-5 * max(1.0, abs(line.a)), 1e-5 * line.b
    by_a = ((line.a + step_a) / line.b - (line.a - step_a) / line.b) / (2 * step_a)
    by_b = (line.a / (line.b + step_b) - line.a / (line.b - step_b)) / (2 * step_b)
    parts = (by_a**2 * line.V_aa, 2 * by_a * by_b * line.V_ab, by_b**2 * line.V_bb)
    stated = centre_variance(Line(line.a, line.b, line.V_aa, sign * line.V_ab, line.V_bb))
    scale = sum(map(abs, parts))
    return nonnegative(1e-6 - (abs(sum(parts) - stated) / scale if scale else abs(stated)))


@st.composite
def _lines(draw: Any) -> Line:
    number = st.integers(-20, 20).map(lambda i: i / 4)
    l1, l2, l3 = draw(number), draw(number), draw(number)
    return Line(draw(number), draw(st.integers(1, 40)) / 8, l1 * l1, l1 * l2, l2 * l2 + l3 * l3)


STAT_3 = Statement(
    "STAT-3",
    "For a fit logit p = a - b k the 50 % point is k50 = a/b, with delta-method variance "
    "(V_aa - 2 k50 V_ab + k50^2 V_bb)/b^2.",
    _differentiated,
    latex=r"\mathrm{Var}(k_{50}) \approx (V_{aa} - 2 k_{50} V_{ab} + k_{50}^2 V_{bb})/b^2",
    source="delta method; Fieller's or a profile interval where b is poorly determined",
    cost="none / constant",
    check="against numerical differentiation",
    instances=_lines,
)
STAT_3 = STAT_3.with_mutants(
    STAT_3.mutant("sign", "The covariance adds.", conclusion=lambda line: _differentiated(line, sign=-1.0))
)


@dataclass(frozen=True)
class Separated:
    """Cells k = 1..cells of equally many trials; all succeed up to ``last`` and all fail beyond."""

    cells: int
    last: int
    trials: int

    def __str__(self) -> str:
        return f"{self.trials} trials at each k = 1..{self.cells}; all succeed up to k = {self.last}, none beyond"


@lru_cache(maxsize=512)
def _separated_fit(q: Separated) -> Slack:
    k = np.arange(1, q.cells + 1)
    fit = fit_boundary(k, np.where(k <= q.last, q.trials, 0), np.full(q.cells, q.trials))
    if fit.status != "fitted" or not math.isfinite(fit.slope):
        return positive(-1)
    return least(positive(fit.centre - q.last), positive(q.last + 1 - fit.centre), positive(-fit.slope))


def _likelihood_falls(q: Separated) -> Slack:
    """Whether the likelihood of slope 10 (per cell) exceeds that of slope 20, at the best centre."""
    k = np.arange(1, q.cells + 1)
    sides = np.where(k <= q.last, 1, -1) * (q.last + 0.5 - k)
    return nonnegative(float(q.trials * (log_expit(10 * sides).sum() - log_expit(20 * sides).sum())))


def _separations() -> st.SearchStrategy[Separated]:
    chosen = st.tuples(st.sampled_from([(2, 1), (3, 1), (4, 2), (5, 4)]), st.sampled_from([1, 20]))
    return chosen.map(lambda v: Separated(*v[0], trials=v[1]))


STAT_3F = Statement(
    "STAT-3f",
    "Where all trials succeed up to some k and fail beyond (complete separation), the fit with Firth's penalty is "
    "finite, and its 50 % point lies in the gap.",
    _separated_fit,
    latex=r"\text{separated at } (k, k+1) \Rightarrow k < \hat k_{50} < k + 1,\ |\hat b| < \infty",
    source="Firth 1993; Albert, Anderson 1984",
    cost="none / one fit",
    check="the fit of expander_theory.statistics.intervals on separated counts",
    instances=_separations,
)
STAT_3F = STAT_3F.with_mutants(
    STAT_3F.mutant(
        "no penalty",
        "Maximum likelihood is finite too: slope 20 is less likely than slope 10.",
        conclusion=_likelihood_falls,
    )
)


# ---- STAT-4

_CODES = 2


def _shares(c: Case) -> tuple[int, Fraction, Fraction]:
    """At k: whether Babel certifies it, share of supports with ERC < 1, share of (support, code) that OMP recovers."""
    babel = int(consecutive_sums(c.babel, c.k) < 1 - 1e-6)
    sets = c.sets(c.k)
    certified = Fraction(int((erc(c.G, sets) < 1 - 1e-9).sum()), len(sets))
    rng = generator(int(c.dictionary.sha256[:15], 16), "codes")
    recovered = 0
    for chosen in sets.tolist():
        codes = rng.choice([-1, 1], (_CODES, c.k)) * 10 ** rng.uniform(0, 1, (_CODES, c.k))
        recovered += sum(pursuit_margin(c.W, c.W[:, chosen] @ code, chosen) > 0 for code in codes)
    return babel, certified, Fraction(recovered, _CODES * len(sets))


def _ordered(c: Case) -> Slack:
    babel, certified, recovered = _shares(c)
    return least(
        nonnegative(certified - babel, how="certified k => every support has ERC < 1"),
        nonnegative(recovered - certified, how="ERC < 1 => recovered"),
    )


def _no_gap(c: Case) -> Slack:
    _, certified, recovered = _shares(c)
    return nonnegative(certified - recovered)


STAT_4 = Statement(
    "STAT-4",
    "Three different objects, in this order at every k: certified for all supports (Babel, 0 or 1) <= share of "
    "supports with ERC < 1 (AVG-2) <= success rate of OMP over the same supports. So certified k <= largest k at which "
    "all supports have ERC < 1 <= largest k without a failure.",
    _ordered,
    {"k < n": lambda c: positive(c.n - c.k)},
    latex=r"\mathbf 1[\mu_1(k) + \mu_1(k-1) < 1] \le P_S(\mathrm{ERC}(S) < 1) \le P_{S,x}(\text{OMP recovers})",
    source="OMP-1, OMP-3",
    cost="Gram matrix, C(n, k) solves / OMP on all supports",
    check=f"all supports of size k, {_CODES} random codes on each",
    needs=("unit",),
    draws=Draws(max_m=7, max_n=6, max_k=3),
)
STAT_4 = STAT_4.with_mutants(
    STAT_4.mutant("no gap", "The ERC-certified share is the success rate of OMP.", conclusion=_no_gap)
)

STATEMENTS = (STAT_1, STAT_2, STAT_3, STAT_3F, STAT_4)
