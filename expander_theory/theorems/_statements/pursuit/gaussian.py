"""Section C of THEORY.md: one step on Gaussian activations, by closed forms of the bivariate normal distribution."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri, owens_t

from expander_theory.dictionaries import Floats
from expander_theory.theorems.case import Case
from expander_theory.theorems.slack import Slack, least, nonnegative
from expander_theory.theorems.statement import Statement

_LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


def tail_energy(t: float) -> float:
    """E[z^2; z > t] for a standard normal z and t >= 0."""
    return t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi) + float(ndtr(-t))


def corner_product(rho: Floats, t: float) -> Floats:
    """E[xy; x > t, y > t] for standard normal x, y of correlation rho, t >= 0 (Rosenbaum 1961; Owen's T)."""
    rho = np.clip(rho, -1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.sqrt((1 - rho) / (1 + rho))
        beyond = np.where(t * slope == t * slope, t * slope, 0.0)  # 0 inf, at t = 0 and rho = -1
        density = np.where(rho > -1, np.exp(-t * t / (1 + rho)), 0.0) * np.sqrt(1 - rho**2) / (2 * math.pi)
    both = ndtr(-t) - 2 * owens_t(t, slope)
    return rho * (both + 2 * t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi) * ndtr(-beyond)) + density


def _selected_products(rho: Floats, t: float, one_sided: bool) -> Floats:
    """E[xy; |x|, |y| > t], or E[xy; x, y > t]."""
    if one_sided:
        return corner_product(rho, t)
    return 2 * (corner_product(rho, t) - corner_product(-rho, t))


def captured_share(G: Floats, m: int, t: float, one_sided: bool = False) -> float:
    """E captured/m of the one-step code of N(0, I_m) with threshold t, unit columns of Gram matrix G."""
    n = len(G)
    energy = (1 if one_sided else 2) * tail_energy(t)
    off = G[~np.eye(n, dtype=bool)]
    return float(n * energy - off @ _selected_products(off, t, one_sided)) / m


def _capped(less: float = 1.0, power: int = 1, one_sided: bool = False) -> Callable[[Case], Slack]:
    """nu p (1 - (nu - less) p^power) less the share captured, at some thresholds."""

    def conclusion(c: Case) -> Slack:
        nu, slacks = c.n / c.m, []
        for t in (*_LEVELS, -float(ndtri(c.k / (2 * c.n)))):  # the last selects k columns on average
            p = (1 if one_sided else 2) * tail_energy(t)
            bound = nu * p * (1 - (nu - less) * p**power)
            slacks.append(nonnegative(bound - captured_share(c.G, c.m, t, one_sided), how=f"t = {t:.4g}"))
        return least(*slacks)

    return conclusion


GAUSS_1 = Statement(
    "GAUSS-1",
    "For h ~ N(0, I_m), any unit columns, and the one-step code with threshold |c_j| > t, E captured <= "
    "nu p (1 - (nu - 1) p) m with p = E[z^2; |z| > t] and nu = n/m; so, for nu >= 3/2, at most m nu/(4 (nu - 1)), "
    "whatever the threshold.",
    _capped(),
    latex=r"\frac{\mathbb E\,\mathrm{captured}}{m} \le \nu p\,(1 - (\nu - 1) p),\quad p = \mathbb E[z^2; |z| > t]",
    source="Hermite expansion and Welch's bound; THEORY.md GAUSS-1",
    cost="none / Gram matrix",
    check="the expectation in closed form (Owen's T), at seven thresholds",
    needs=("unit",),
)
GAUSS_1 = GAUSS_1.with_mutants(
    GAUSS_1.mutant("nu", "nu stands for nu - 1.", conclusion=_capped(less=0.0)),
    GAUSS_1.mutant("no p", "E captured <= nu p (2 - nu) m.", conclusion=_capped(power=0)),
    GAUSS_1.mutant("one-sided", "The same for c_j > t with p = E[z^2; z > t].", conclusion=_capped(one_sided=True)),
)

STATEMENTS = (GAUSS_1,)
