"""Section E of THEORY.md: reference curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from expander_theory.statistics import (
    omp_measurements,
    omp_sparsity,
    thresholding_measurements,
    weak_curve,
    weak_threshold,
)
from expander_theory.theorems.slack import Slack, least, nonnegative
from expander_theory.theorems.statement import Statement

# ---- REF-1


@dataclass(frozen=True)
class WeakPoint:
    """A point of the weak threshold, by the parameter t of its parametric form."""

    t: float
    signed: bool

    def __str__(self) -> str:
        return f"t = {self.t:g}, {'signed' if self.signed else 'nonnegative'} codes"


def _two_forms(per_row: bool) -> Callable[[WeakPoint], Slack]:
    """1e-6 - |psi(k/n) - m/n| on the parametric curve, and psi within its bounds."""

    def conclusion(q: WeakPoint) -> Slack:
        delta, rho = (float(v) for v in weak_curve(q.t, signed=q.signed))
        density = rho * delta if per_row else rho
        psi = weak_threshold(density, signed=q.signed)
        bounds = (psi - density, weak_threshold(density) - psi, 1 - psi)
        return least(nonnegative(1e-6 - abs(psi - delta)), *map(nonnegative, bounds))

    return conclusion


def _weak_points() -> st.SearchStrategy[WeakPoint]:
    return st.builds(WeakPoint, st.integers(1, 500).map(lambda i: i / 100), st.booleans())


REF_1 = Statement(
    "REF-1",
    "Two forms of the weak threshold of l1 minimisation with Gaussian measurements agree: psi(k/n) by minimisation, "
    "and m/n = c phi/(t + c (phi - tQ)), k/m = 1 - tQ/phi (c = 2 signed, 1 nonnegative).",
    _two_forms(per_row=True),
    latex=r"\psi(r) = \min_t\, r(1+t^2) + (1-r)\,c\,[(1+t^2)Q(t) - t\varphi(t)]",
    source="Donoho, Tanner 2005; Amelunxen, Lotz, McCoy, Tropp 2014 (the threshold itself is quoted, not proved here)",
    cost="none / one minimisation",
    check="agreement to 1e-6; k/n <= psi <= 1; nonnegative codes need no more rows than signed ones",
    instances=_weak_points,
)
REF_1 = REF_1.with_mutants(
    REF_1.mutant("density", "In the parametric form 1 - tQ/phi is k/n.", conclusion=_two_forms(per_row=False))
)


# ---- REF-2, REF-3


@dataclass(frozen=True)
class GaussianSizes:
    """k nonzeros of n with power ratio MAR (least squared coefficient over the mean)."""

    k: int
    n: int
    power_ratio: float

    def __str__(self) -> str:
        return f"k = {self.k}, n = {self.n}, MAR = {self.power_ratio}"


@st.composite
def _gaussian_sizes(draw: Any) -> GaussianSizes:
    n = draw(st.one_of(st.integers(4, 400), st.sampled_from([2**14, 2**15, 2**16, 2**17])))
    return GaussianSizes(draw(st.integers(1, n - 2)), n, draw(st.sampled_from([1.0, 0.5, 0.1, 0.01])))


def _leading_term(q: GaussianSizes) -> Slack:
    """At m = 2k ln(n-k): m/(2 ln n) = k ln(n-k)/ln n <= k."""
    leading = omp_sparsity(omp_measurements(q.k, q.n), q.n)
    ratio = math.log(q.n - q.k) / math.log(q.n)
    return least(nonnegative(q.k - leading), nonnegative(1e-12 - abs(leading / (q.k * ratio) - 1)))


REF_2 = Statement(
    "REF-2",
    "OMP with a Gaussian dictionary needs m ~ 2 k ln(n - k) (quoted); k = m/(2 ln n) is its leading term from below: k "
    "times ln(n-k)/ln n.",
    _leading_term,
    latex=r"m \sim 2k\ln(n-k),\quad \frac{m}{2\ln n} = k\,\frac{\ln(n-k)}{\ln n} \le k",
    source="Fletcher, Rangan 2012; asymptotic, empirically pessimistic at SAE sizes",
    cost="none / constant",
    check="arithmetic of the two formulas",
    instances=_gaussian_sizes,
)


def _price_of_range(factor: Callable[[GaussianSizes], float]) -> Callable[[GaussianSizes], Slack]:
    """1/MAR <= REF-3/REF-2 <= factor."""

    def conclusion(q: GaussianSizes) -> Slack:
        ratio = thresholding_measurements(q.k, q.n, q.power_ratio) / omp_measurements(q.k, q.n)
        return least(nonnegative(ratio * q.power_ratio - 1), nonnegative(factor(q) / ratio - 1))

    return conclusion


REF_3 = Statement(
    "REF-3",
    "One-step thresholding with a Gaussian dictionary needs m ~ (2/MAR) k (sqrt ln(n-k) + sqrt ln k)^2 (quoted): for "
    "k <= n/2 between 1/MAR and 4/MAR times what OMP needs, MAR the least squared coefficient over the mean.",
    _price_of_range(lambda q: 4 / q.power_ratio),
    {"k <= n/2": lambda q: nonnegative(q.n - 2 * q.k)},
    latex=r"\frac{1}{\mathrm{MAR}} \le \frac{m_{\text{thresholding}}}{m_{\text{OMP}}} \le \frac{4}{\mathrm{MAR}}",
    source="Fletcher, Rangan, Goyal 2009",
    cost="none / constant",
    check="arithmetic of the two formulas",
    instances=_gaussian_sizes,
)
REF_3 = REF_3.with_mutants(
    REF_3.mutant("any k", "The factor is at most 4/MAR for every k < n.", hypotheses={}),
    REF_3.mutant("any range", "Thresholding costs at most 4 times OMP.", conclusion=_price_of_range(lambda q: 4)),
)

STATEMENTS = (REF_1, REF_2, REF_3)
