"""Section D of THEORY.md: combinatorial decoders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
from hypothesis import strategies as st

from expander_theory.base import generator, require
from expander_theory.masks import uniform_mask
from expander_theory.statistics import peeling_step, peeling_threshold
from expander_theory.theorems._statements.decoders import (
    activation,
    agreement_decode,
    is_peelable,
    left_by_peeling,
    recovered,
    wrong_updates,
)
from expander_theory.theorems.case import Case, Interval
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

Rational = int | Fraction
Test = Literal["agreement", "decrease"]

_GENERIC = 2**61 - 1
_MAX_CODE = 16


# ---- L0-1


def _generic(c: Case) -> tuple[list[list[int]], list[int]]:
    """Weights and coefficients drawn from 61-bit integers of either sign, on the mask and on the code's support.

    The exceptional set of "almost every" is a union of zero sets of polynomials of degree at most 3; random integers
    from 2^62 hit one with chance below 1e-17 each (Schwartz-Zippel), and rationals of them stay exact. The draw
    depends on the dictionary alone.
    """
    rng = generator(int(c.dictionary.sha256[:15], 16), "generic values")

    def draw(size: tuple[int, ...]) -> np.ndarray:
        return rng.integers(1, _GENERIC, size) * rng.choice([-1, 1], size)

    code = [0] * c.n
    for j, x in zip(c.support, draw((len(c.support),)).tolist(), strict=True):
        code[j] = x
    return draw((c.n, c.d)).tolist(), code


def _generic_decoding(a: int, exactly: bool = True) -> Callable[[Case], Slack]:
    """Nothing wrong is ever added, and the code is recovered (``exactly``: iff the support is a-peelable)."""

    def conclusion(c: Case) -> Slack:
        values, code = _generic(c)
        expected = is_peelable(c.mask, c.support, a) if exactly else True
        parts = []
        for parallel in (True, False):
            decoding = agreement_decode(c.mask, values, activation(c.mask, values, code), a, parallel=parallel)
            parts.append(nonnegative(-wrong_updates(decoding, code), how="wrong updates"))
            parts.append(nonnegative(0 if recovered(decoding, code) == expected else -1, how="recovery"))
        return least(*parts)

    return conclusion


def _sparsity(c: Case) -> int:
    """k, but not less than the nonzeros of the code, if there is one."""
    return c.k if c.code is None else max(c.k, len(c.support))


def _loss_below(threshold: Callable[[Case], Fraction]) -> Callable[[Case], Slack]:
    """eps_k < threshold."""

    def condition(c: Case) -> Slack:
        eps, bound = c.eps(_sparsity(c)), threshold(c)
        return positive(bound - eps.high, high=bound - eps.low, how=eps.how)

    return condition


_HALF = _loss_below(lambda c: Fraction(1, 2))

L0_1 = Statement(
    "L0-1",
    "For almost all values on the mask and coefficients on S, the decoder that adds a value once two rows of a column "
    "agree on it never adds a wrong value, and it recovers x iff S is 2-peelable: every nonempty U in S has a column "
    "with two rows that no other column of U meets.",
    _generic_decoding(2),
    latex=r"a = 2,\ (W, x)\ \text{a.e.}:\quad \hat x = x \iff S\ \text{is 2-peelable}",
    source="THEORY.md L0-1 (polynomial identities); exact arithmetic, no stability",
    cost="k d per round / exact decoding",
    check="parallel and serial decoding in rationals at random 61-bit weights and coefficients; both directions",
    needs=("full",),
    draws=Draws(values="positive", code="any"),
)
L0_1 = L0_1.with_mutants(
    L0_1.mutant("one row", "One row is proof: the same with a = 1.", conclusion=_generic_decoding(1)),
)

L0_1S = Statement(
    "L0-1s",
    "If eps_k < (1 - 1/d)/2 with k >= |S|, the decoder of L0-1 recovers x, for almost all values and coefficients.",
    _generic_decoding(2, exactly=False),
    {"eps_k < (1 - 1/d)/2": _loss_below(lambda c: (1 - Fraction(1, c.d)) / 2)},
    latex=r"\varepsilon_k < \tfrac12 (1 - \tfrac1d) \Rightarrow \hat x = x \text{ a.e.}",
    source="THEORY.md L0-1 with EXP-2: more than |U| unique neighbours, so some column has two",
    cost="eps_k / exact decoding",
    check="parallel and serial decoding in rationals at random 61-bit weights and coefficients",
    needs=("full",),
    draws=Draws(values="positive", code="k", max_k=6),
)
L0_1S = L0_1S.with_mutants(L0_1S.mutant("half", "eps_k < 1/2 suffices.", hypotheses={"eps_k < 1/2": _HALF}))


# ---- L0-2


def _one_value(c: Case) -> Slack:
    """All entries are equal and positive."""
    low, high = float(c.dictionary.values.min()), float(c.dictionary.values.max())
    return least(positive(Fraction(low)), nonnegative(Fraction(low) - Fraction(high)))


def _dissociated(c: Case) -> Slack:
    """The least gap between two of the 2^k subset sums of the coefficients."""
    k = len(c.support)
    require(k <= _MAX_CODE, "k", k, f"must be at most {_MAX_CODE} where all subset sums are formed")
    sums = [Fraction(0)]
    for j in c.support:
        sums += [s + Fraction(float(c.x[j])) for s in sums]
    return positive(min(b - a for a, b in itertools.pairwise(sorted(sums))))


def _private_rows(c: Case) -> Slack:
    """(1 - 2 eps_k) d - o > 0."""
    eps = c.eps(_sparsity(c))
    return positive((1 - 2 * eps.high) * c.d - c.overlap, high=(1 - 2 * eps.low) * c.d - c.overlap, how=eps.how)


def _most(c: Case, eps: Interval) -> int:
    """ceil((1 - 2 eps) d), from the upper bound on eps."""
    return math.ceil((1 - 2 * eps.high) * c.d)


def _flat_decoding(
    thresholds: Callable[[Case], Iterable[int]], test: Test = "agreement", orders: tuple[bool, ...] = (True, False)
) -> Callable[[Case], Slack]:
    """Exact recovery without a wrong update in at most k rounds, for each threshold a, parallel and serial."""

    def conclusion(c: Case) -> Slack:
        values = [[Fraction(float(v)) for v in column] for column in c.dictionary.values]
        code = [Fraction(float(v)) for v in c.x]
        h = activation(c.mask, values, code)
        parts = []
        for a, parallel in itertools.product(thresholds(c), orders):
            decoding = agreement_decode(c.mask, values, h, max(1, a), parallel=parallel, test=test)
            parts.append(nonnegative(0 if recovered(decoding, code) else -1, how=f"recovery, a = {a}"))
            if test == "agreement":
                parts.append(nonnegative(-wrong_updates(decoding, code), how=f"wrong updates, a = {a}"))
                parts.append(nonnegative(len(c.support) - decoding.rounds, how="a column per round"))
        return least(*parts)

    return conclusion


_FLAT = {"one positive value": _one_value, "dissociated code": _dissociated}

L0_2 = Statement(
    "L0-2",
    "If all entries on the mask equal one positive number, all subset sums of the coefficients differ, and "
    "(1 - 2 eps_k) d > o with k >= |S| and o the largest overlap of two columns, the agreement decoder with threshold "
    "a = o + 1 (or any up to ceil((1 - 2 eps_k) d)) recovers x, parallel or serial, one column per round at least.",
    _flat_decoding(lambda c: range(c.overlap + 1, _most(c, c.eps(_sparsity(c))) + 1)),
    {**_FLAT, "(1 - 2 eps_k) d > o": _private_rows},
    latex=r"(1 - 2\varepsilon_k) d > o,\ a = o + 1 \Rightarrow \hat x = x",
    source="THEORY.md L0-2; after Mendoza-Smith, Tanner 2017",
    cost="eps_k, 2^k sums / exact decoding",
    check="parallel and serial decoding in rationals, every threshold in the range, every update checked",
    needs=("full",),
    draws=Draws(values="positive", code="k", max_k=6),
)
L0_2 = L0_2.with_mutants(
    *(
        L0_2.mutant(
            f"a={a}",
            f"eps_k < 1/2 and a = {a} suffice.",
            hypotheses={**_FLAT, "eps_k < 1/2": _HALF},
            conclusion=_flat_decoding(lambda c, a=a: [a]),
        )
        for a in (1, 2)
    ),
    L0_2.mutant(
        "any code",
        "Subset sums may coincide.",
        hypotheses={"one positive value": _one_value, "(1 - 2 eps_k) d > o": _private_rows},
    ),
)


def _eps_of_two(c: Case) -> Interval:
    return c.eps(max(2, _sparsity(c)))


def _quarter(c: Case) -> Slack:
    eps = _eps_of_two(c)
    return positive(Fraction(1, 4) - eps.high, high=Fraction(1, 4) - eps.low, how=eps.how)


def _quarter_reached(c: Case) -> Slack:
    """k >= 2 and eps_k <= 1/4."""
    eps = c.eps(_sparsity(c))
    small = nonnegative(Fraction(1, 4) - eps.high, high=Fraction(1, 4) - eps.low, how=eps.how)
    return least(nonnegative(_sparsity(c) - 2), small)


L0_2Q = Statement(
    "L0-2q",
    "In particular eps_s < 1/4 with s = max(k, 2) and a = ceil((1 - 2 eps_s) d) suffice, for one positive value and "
    "codes whose subset sums differ.",
    _flat_decoding(lambda c: [_most(c, _eps_of_two(c))]),
    {**_FLAT, "eps_max(k,2) < 1/4": _quarter},
    latex=r"\varepsilon_{\max(k,2)} < \tfrac14,\ a = \lceil (1 - 2\varepsilon) d \rceil \Rightarrow \hat x = x",
    source="THEORY.md L0-2: o <= 2 eps_2 d",
    cost="eps_k, 2^k sums / exact decoding",
    check="parallel and serial decoding in rationals, every update checked",
    needs=("full",),
    draws=Draws(values="positive", code="k", max_k=6),
)
L0_2Q = L0_2Q.with_mutants(
    L0_2Q.mutant(
        "equality",
        "eps_k <= 1/4 (k >= 2) suffices where columns take turns and one is updated if the number of nonzeros of the "
        "residual falls by ceil((1 - 2 eps_k) d).",
        hypotheses={**_FLAT, "k >= 2, eps_k <= 1/4": _quarter_reached},
        conclusion=_flat_decoding(lambda c: [_most(c, c.eps(_sparsity(c)))], "decrease", (False,)),
    )
)


# ---- L0-3


@dataclass(frozen=True)
class Peeling:
    """Random supports: left degree d, a rows that nothing else meets, and the seed of the simulated ones."""

    d: int
    a: int
    seed: int

    def __str__(self) -> str:
        return f"d = {self.d}, a = {self.a}, simulated with seed {self.seed}"


_ROWS, _TRIALS = 800, 5


@lru_cache(maxsize=256)
def _peeled(d: int, a: int, seed: int, load: float) -> tuple[float, ...]:
    """Share of round(load m) random columns that peeling leaves, in some trials, m = 800."""
    k = round(load * _ROWS)
    masks = (uniform_mask(_ROWS, k, d, seed=_TRIALS * seed + trial) for trial in range(_TRIALS))
    return tuple(left_by_peeling(_ROWS, mask.rows, a) / k for mask in masks)


def _limit(load: float, d: int, a: int) -> float:
    """Where density evolution from p = 1 ends."""
    p = 1.0
    for _ in range(4000):
        p, last = peeling_step(p, load, d, a), p
        if last - p < 1e-13:
            break
    return p


def _density_evolution(threshold: Callable[[Peeling], float]) -> Callable[[Peeling], Slack]:
    def conclusion(q: Peeling) -> Slack:
        load = threshold(q)
        below, above = (float(np.median(_peeled(q.d, q.a, q.seed, f * load))) for f in (0.9, 1.1))
        return least(
            nonnegative(1e-6 - _limit(0.98 * load, q.d, q.a), how="density evolution at 0.98 of the threshold"),
            positive(_limit(1.02 * load, q.d, q.a) - 1e-3, how="density evolution at 1.02 of the threshold"),
            nonnegative(0.05 - below, how="simulated share left at 0.9 of the threshold"),
            nonnegative(above - 0.05, how="simulated share left at 1.1 of the threshold"),
        )

    return conclusion


def _peelings() -> st.SearchStrategy[Peeling]:
    shapes = [(d, a) for a in (1, 2) for d in range(a + 2, 13)]
    return st.tuples(st.sampled_from(shapes), st.integers(0, 2)).map(lambda v: Peeling(*v[0], seed=v[1]))


L0_3 = Statement(
    "L0-3",
    "Heuristic, for random supports: with load k/m below the least l/(d P(Bin(d-1, e^-l) < a)), l > 0, density "
    "evolution p <- P(Bin(d-1, exp(-(k/m) d p)) < a) from p = 1 falls to 0 and supports are typically a-peelable; "
    "above it a share stays.",
    _density_evolution(lambda q: peeling_threshold(q.d, q.a)),
    latex=r"(k/m)^* = \min_{\ell > 0} \frac{\ell}{d\, P(\mathrm{Bin}(d-1, e^{-\ell}) < a)}",
    source="density evolution, quoted and not proved here; THEORY.md L0-3",
    cost="one minimisation / simulation",
    check=f"the recursion at 0.98 and 1.02 of the threshold; the median of {_TRIALS} supports simulated at m = {_ROWS} "
    "and 0.9 and 1.1 of it",
    instances=_peelings,
)
L0_3 = L0_3.with_mutants(
    L0_3.mutant(
        "2-core", "The threshold of a = 1 holds for a = 2.",
        conclusion=_density_evolution(lambda q: peeling_threshold(q.d, 1)),
    )
)  # fmt: skip

STATEMENTS = (L0_1, L0_1S, L0_2, L0_2Q, L0_3)
