"""The probabilistic statements of THEORY.md: random masks (EXP-6, EXP-6b) and the sampled certificate (AVG-2)."""

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
from scipy.stats import binom

from expander_theory.base import generator, require
from expander_theory.dictionaries import Dictionary
from expander_theory.masks import uniform_mask
from expander_theory.statistics import clopper_pearson_interval
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import erc
from expander_theory.theorems.slack import Slack, least, nonnegative
from expander_theory.theorems.statement import Draws, Statement

MAX_MASKS = 20_000
"""Most masks that are enumerated."""

_ONE = Fraction(1)


@dataclass(frozen=True)
class RandomMasks:
    """The model of EXP-6, n independent uniform d-subsets of m rows, and the event about sets of at most s columns."""

    m: int
    n: int
    d: int
    s: int
    eps: Fraction = Fraction(1, 2)

    def __str__(self) -> str:
        return f"m = {self.m}, n = {self.n}, d = {self.d}, s = {self.s}, eps = {self.eps}"


# ---- exact distributions


@lru_cache(maxsize=1024)
def neighbour_distribution(m: int, d: int, t: int) -> tuple[Fraction, ...]:
    """P(|N_t| = u), u = 0..m, for t independent uniform d-subsets: the chain u -> u + g of EXP-6, exactly."""
    now = [_ONE] + [Fraction(0)] * m
    for _ in range(t):
        after = [Fraction(0)] * (m + 1)
        for u, p in enumerate(now):
            for g in range(min(d, m - u) + 1):
                if p:
                    after[u + g] += p * Fraction(math.comb(u, d - g) * math.comb(m - u, g), math.comb(m, d))
        now = after
    return tuple(now)


def neighbour_tail(m: int, d: int, t: int, u: int) -> Fraction:
    """P(|N_t| <= u)."""
    return sum(neighbour_distribution(m, d, t)[: max(0, u + 1)], Fraction(0))


def few(eps: Fraction, d: int, t: int, reached: bool = False) -> int:
    """The largest |N| of t columns at which coll/(dt) > eps; with ``reached``, at which it is >= eps."""
    return math.floor((1 - eps) * d * t) if reached else math.ceil((1 - eps) * d * t) - 1


def union_bound(q: RandomMasks, reached: bool = False) -> Fraction:
    """delta(s, eps) = sum_{t=2}^s C(n, t) P(|N_t| <= u_t), an upper bound on P(eps_s > eps), or on P(eps_s >= eps)."""
    sizes = range(2, min(q.s, q.n) + 1)
    terms = (math.comb(q.n, t) * neighbour_tail(q.m, q.d, t, few(q.eps, q.d, t, reached)) for t in sizes)
    return sum(terms, Fraction(0))


def closed_forms(m: int, d: int, t: int, u: int) -> list[Fraction]:
    """Upper bounds on P(|N_t| <= u): N_t inside a fixed u-set, its cruder form, dt single balls, and binomial."""
    if u < 0:
        return [Fraction(0)]
    u = min(u, m)
    inside = math.comb(m, u) * Fraction(math.comb(u, d), math.comb(m, d)) ** t
    cruder = math.comb(m, u) * Fraction(u, m) ** (d * t)
    balls = neighbour_tail(m, 1, d * t, u)
    edges, hit = d * (t - 1), min(_ONE, Fraction(d * (t - 1), m - d + 1))
    hits = (math.comb(edges, i) * hit**i * (1 - hit) ** (edges - i) for i in range(max(0, d * t - u), edges + 1))
    return [inside, cruder, balls, sum(hits, Fraction(0))]


@lru_cache(maxsize=4096)
def associated_stirling(balls: int, cells: int) -> int:
    """2-associated Stirling number S2(N, u): partitions of N labelled balls into u cells of at least two."""
    if cells == 0 or balls < 2 * cells:
        return int(balls == cells == 0)
    return cells * associated_stirling(balls - 1, cells) + (balls - 1) * associated_stirling(balls - 2, cells - 1)


def stopping_term(m: int, d: int, t: int, conditioned: bool = True) -> Fraction:
    """p_t of EXP-6b: a bound on the probability that t given columns form a stopping set."""
    balls = d * t
    ways = sum(
        math.comb(m, u) * math.factorial(u) * associated_stirling(balls, u) for u in range(min(m, balls // 2) + 1)
    )
    distinct = Fraction(math.perm(m, d), m**d) if conditioned else _ONE
    return Fraction(ways, m**balls) / distinct**t


# ---- all masks at once


@lru_cache(maxsize=64)
def _all_masks(m: int, n: int, d: int) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """For each of the C(m, d)^n masks (one a column): least |N(S)| over |S| = t, row t, and the stopping distance.

    A mask without stopping sets has n + 1.
    """
    columns = np.array([b for b in range(2**m) if b.bit_count() == d])
    count = len(columns) ** n
    require(count <= MAX_MASKS, "n", n, f"asks for {count} masks; at most {MAX_MASKS} are enumerated")
    sizes = np.array([b.bit_count() for b in range(2**m)], np.int8)
    choice = np.stack(np.unravel_index(np.arange(count), (len(columns),) * n))
    fewest = np.full((n + 1, count), m + 1, np.int8)
    stopping = np.full(count, n + 1, np.int8)
    tables = [(0, np.zeros(count, np.int64), np.zeros(count, np.int64))]
    for j in range(n):
        own = columns[choice[j]]
        grown = [(t + 1, (once & ~own) | (own & ~met), met | own) for t, once, met in tables]
        for t, once, met in grown:
            np.minimum(fewest[t], sizes[met], out=fewest[t])
            stopping[once == 0] = np.minimum(stopping[once == 0], t)
        tables += grown
    return fewest, stopping


def expansion_failure_exactly(q: RandomMasks, reached: bool = False) -> Fraction:
    """P(eps_s > eps), or P(eps_s >= eps), by enumeration of all masks (at most :data:`MAX_MASKS`)."""
    fewest, _ = _all_masks(q.m, q.n, q.d)
    fails = np.zeros(fewest.shape[1], bool)
    for t in range(1, min(q.s, q.n) + 1):
        fails |= fewest[t] <= few(q.eps, q.d, t, reached)
    return Fraction(int(fails.sum()), fails.size)


def stopping_set_exactly(q: RandomMasks) -> Fraction:
    """P(some stopping set has at most s columns), by enumeration of all masks."""
    _, stopping = _all_masks(q.m, q.n, q.d)
    return Fraction(int((stopping <= q.s).sum()), stopping.size)


_SHAPES = [
    (m, n, d)
    for m in range(1, 9)
    for d in range(1, m + 1)
    for n in range(2, 8)
    if math.comb(m, d) ** n <= MAX_MASKS and (m > 2 or n <= 4)
]


@st.composite
def _models(draw: Any) -> RandomMasks:
    """Sizes whose masks can be enumerated; eps a value that sets of at most s columns can have."""
    m, n, d = draw(st.sampled_from(_SHAPES))
    s = draw(st.integers(2, n))
    t = draw(st.integers(2, s))
    return RandomMasks(m, n, d, s, Fraction(draw(st.integers(1, d * (t - 1))), d * t))


# ---- EXP-6


def _union_slack(q: RandomMasks) -> Slack:
    parts = [nonnegative(union_bound(q, r) - expansion_failure_exactly(q, r), how="delta") for r in (False, True)]
    for t in range(2, min(q.s, q.n) + 1):
        u = few(q.eps, q.d, t)
        tail = neighbour_tail(q.m, q.d, t, u)
        parts += [nonnegative(bound - tail, how="closed form") for bound in closed_forms(q.m, q.d, t, u)]
        mean = sum(p * v for v, p in enumerate(neighbour_distribution(q.m, q.d, t)))
        parts.append(nonnegative(-abs(mean - q.m * (1 - (1 - Fraction(q.d, q.m)) ** t)), how="mean"))
    return least(*parts)


def _largest_size_alone(q: RandomMasks) -> Slack:
    t = min(q.s, q.n)
    term = math.comb(q.n, t) * neighbour_tail(q.m, q.d, t, few(q.eps, q.d, t))
    return nonnegative(term - expansion_failure_exactly(q))


def _sampled_sets(c: Case) -> Slack:
    """The largest coll(S)/(d|S|) of 64 random sets of at most k columns, minus eps_k."""
    rng = generator(int(c.mask.sha256[:15], 16), "sampled sets")
    found = Fraction(0)
    for _ in range(64):
        chosen = rng.permutation(c.n)[: rng.integers(1, min(c.k, c.n) + 1)]
        found = max(found, Fraction(int(c.subsets.losses[(1 << chosen).sum()]), c.d * len(chosen)))
    return nonnegative(found - c.subsets.eps(c.k))


EXP_6 = Statement(
    "EXP-6",
    "For n independent uniform d-subsets of m rows, P(eps_s > eps) <= delta(s, eps) = sum_{t=2}^s C(n,t) "
    "P(|N_t| <= u_t) with u_t = ceil((1-eps)dt) - 1; for P(eps_s >= eps) with u_t = floor((1-eps)dt). The tails are "
    "exact by a Markov chain and at most C(m,u) (C(u,d)/C(m,d))^t <= C(m,u) (u/m)^(dt), the tail of dt single balls, "
    "and P(Bin(d(t-1), d(t-1)/(m-d+1)) >= dt-u).",
    _union_slack,
    latex=r"P(\varepsilon_s > \varepsilon) \le \sum_{t=2}^s \tbinom{n}{t} "
    r"P(|N_t| \le \lceil (1-\varepsilon) d t \rceil - 1)",
    source="union bound; THEORY.md EXP-6",
    cost="s m d / all C(m, d)^n masks",
    check=f"probabilities by enumeration of all masks (at most {MAX_MASKS}), exact rationals",
    instances=_models,
)
EXP_6 = EXP_6.with_mutants(
    EXP_6.mutant("last size", "The term of t = s alone bounds P(eps_s > eps).", conclusion=_largest_size_alone),
    EXP_6.mutant(
        "sampled sets",
        "The worst of 64 random sets of at most k columns certifies eps_k.",
        conclusion=_sampled_sets,
        instances=None,
        draws=Draws(max_m=10, max_n=12, values="positive", max_k=6),
    ),
)


# ---- EXP-6b


def _stopping_bound(conditioned: bool) -> Callable[[RandomMasks], Slack]:
    def conclusion(q: RandomMasks) -> Slack:
        sizes = range(2, min(q.s, q.n) + 1)
        bound = sum((math.comb(q.n, t) * stopping_term(q.m, q.d, t, conditioned) for t in sizes), Fraction(0))
        return nonnegative(bound - stopping_set_exactly(q))

    return conclusion


EXP_6B = Statement(
    "EXP-6b",
    "For n independent uniform d-subsets of m rows, P(some stopping set has at most s columns) <= "
    "sum_{t=2}^s C(n,t) p_t, p_t = [sum_u C(m,u) u! S2(dt,u)/m^(dt)] / [(m)_d/m^d]^t, S2 the 2-associated Stirling "
    "numbers.",
    _stopping_bound(conditioned=True),
    latex=r"p_t = \frac{\sum_u \binom{m}{u} u!\, S_2(dt, u) / m^{dt}}{[(m)_d / m^d]^t}",
    source="balls with replacement, conditioned; THEORY.md EXP-6b",
    cost="(dt)^2 / all C(m, d)^n masks",
    check=f"probabilities by enumeration of all masks (at most {MAX_MASKS}), exact rationals",
    instances=_models,
)
EXP_6B = EXP_6B.with_mutants(
    EXP_6B.mutant(
        "no conditioning",
        "The same without dividing by the chance that the balls of a column land in different rows.",
        conclusion=_stopping_bound(conditioned=False),
    )
)


# ---- AVG-2


@dataclass(frozen=True, eq=False)
class SampledSupports:
    """A dictionary (normalised) with k, and ``samples`` supports of size k drawn to certify it at ``level``."""

    case: Case
    samples: int
    level: float

    def __str__(self) -> str:
        return f"{self.samples} supports sampled, level {self.level}\n{self.case}"


def certified_share(case: Case) -> Fraction:
    """Share of the supports of size k with ERC(S) < 1 (by more than rounding): OMP is exact for all their codes."""
    values = erc(case.G, case.sets(case.k))
    return Fraction(int((values < 1 - 1e-9).sum()), len(values))


@lru_cache(maxsize=512)
def _lower_limits(samples: int, level: float) -> NDArray[np.float64]:
    return clopper_pearson_interval(np.arange(samples + 1), samples, level=level)[0]


def _too_high(lower: Callable[[SampledSupports], NDArray[np.float64]]) -> Callable[[SampledSupports], Slack]:
    """a/2 - P(lower limit > share), summed over all counts."""

    def conclusion(q: SampledSupports) -> Slack:
        share = float(certified_share(q.case))
        counts = np.flatnonzero(lower(q) > share)
        return nonnegative((1 - q.level) / 2 - float(binom.pmf(counts, q.samples, share).sum()))

    return conclusion


@st.composite
def _sampled_supports(draw: Any) -> SampledSupports:
    """Random masks with signs or Gaussian values: what matters here is the share alone."""
    m, n, seed = draw(st.integers(2, 8)), draw(st.integers(3, 7)), draw(st.integers(0, 99))
    mask = uniform_mask(m, n, draw(st.integers(1, min(3, m))), seed=seed)
    rng = generator(seed, "values")
    signs = draw(st.booleans())
    values = rng.choice([-1.0, 1.0], mask.rows.shape) if signs else rng.standard_normal(mask.rows.shape)
    case = Case(Dictionary(mask, values), draw(st.integers(1, min(3, n - 1))), unit=True)
    return SampledSupports(case, draw(st.integers(1, 60)), draw(st.sampled_from([0.95, 0.9, 0.99])))


AVG_2 = Statement(
    "AVG-2",
    "Draw supports of size k at random and count those with ERC(S) < 1. The lower Clopper-Pearson limit of level 1 - a "
    "exceeds the share of supports on which that holds (so OMP is exact for all their codes) with probability at most "
    "a/2.",
    _too_high(lambda q: _lower_limits(q.samples, q.level)),
    latex=r"P\big(\mathrm{CP}_{\mathrm{low}}(\#\{\mathrm{ERC}(S_i) < 1\}, T) > P(\mathrm{ERC}(S) < 1)\big) \le a/2",
    source="Clopper-Pearson and OMP-1; THEORY.md AVG-2",
    cost="T solves of size k / C(n, k) solves",
    check="the share by enumeration of all supports, the probability by summing the binomial",
    instances=_sampled_supports,
)
AVG_2 = AVG_2.with_mutants(
    AVG_2.mutant(
        "observed share",
        "The share observed in the sample is a certificate itself.",
        conclusion=_too_high(lambda q: np.arange(q.samples + 1) / q.samples),
    )
)

STATEMENTS = (EXP_6, EXP_6B, AVG_2)
