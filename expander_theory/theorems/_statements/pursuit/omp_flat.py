"""Section C of THEORY.md: coherence from overlaps and flatness, and OMP from expansion."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from expander_theory.dictionaries import Floats
from expander_theory.theorems._statements.pursuit.omp import ALL_SETS, SETS, erc_below_one
from expander_theory.theorems.case import Case
from expander_theory.theorems.slack import Slack, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

# ---- OMP-4


def _pairs(c: Case, bound: Callable[[Case, int, int], float]) -> Slack:
    """The least bound(j, l) - |G_jl| over pairs of columns."""
    pairs = itertools.combinations(range(c.n), 2)
    return nonnegative(min((bound(c, j, l) - abs(float(c.G[j, l])) for j, l in pairs), default=0.0))


def _largest(c: Case, j: int, count: int) -> Floats:
    return np.sort(np.abs(c.values[j]))[::-1][:count]


def _flatness(c: Case, j: int) -> float:
    return math.sqrt(c.d) * float(np.abs(c.values[j]).max())


def _sorted_products(c: Case, j: int, l: int) -> float:
    o = int(c.overlaps[j, l])
    first, second = _largest(c, j, o), _largest(c, l, o)
    product = float(first @ second)
    weaker = min(float(np.linalg.norm(first) * np.linalg.norm(second)), o * _flatness(c, j) * _flatness(c, l) / c.d)
    return min(product, weaker + 1e-12)  # the chain of bounds: the first is the least


OMP_4 = Statement(
    "OMP-4",
    "|G_jl| is at most the sum of the products of the o(j,l) largest moduli of w_j and w_l, in order; so at most "
    "sqrt(T_j T_l) with T the sum of their o largest squares, and at most o(j,l) C_j C_l/d.",
    lambda c: _pairs(c, _sorted_products),
    latex=r"|G_{jl}| \le \sum_{i \le o} w^{\downarrow}_j(i)\, w^{\downarrow}_l(i) \le o(j,l)\, C_j C_l / d",
    source="rearrangement inequality; THEORY.md OMP-4",
    cost="none / Gram matrix",
    check="all pairs; the least of the three bounds",
    needs=("unit",),
    draws=Draws(max_m=6, max_n=5),
)
OMP_4 = OMP_4.with_mutants(
    OMP_4.mutant("no C", "|G_jl| <= o(j,l)/d.", conclusion=lambda c: _pairs(c, lambda c, j, l: c.overlaps[j, l] / c.d)),
    OMP_4.mutant(
        "least C",
        "|G_jl| <= o(j,l) min(C_j, C_l)/d.",
        conclusion=lambda c: _pairs(
            c, lambda c, j, l: float(c.overlaps[j, l]) * min(_flatness(c, j), _flatness(c, l)) / c.d
        ),
    ),
)


# ---- OMP-5, and the paper's condition


def _babel_bound(factor: Callable[[Case], float], edges: Callable[[Case, int], Fraction]) -> Callable[[Case], Slack]:
    """factor * edges(k) - mu_1(k) >= 0, at k <= n - 1."""

    def conclusion(c: Case) -> Slack:
        k = min(c.k, c.n - 1)
        return nonnegative(factor(c) * float(edges(c, k)) - c.babel(k))

    return conclusion


def _babel_expansion(c: Case) -> Slack:
    k = min(c.k, c.n - 1)
    if c.n <= 16:
        return nonnegative(float(c.C_squared * (k + 1) * c.subsets.eps_at(k + 1)) - c.babel(k))
    eps, scale = c.eps(k + 1), c.C_squared * (k + 1)
    low, high = float(scale * eps.low) - c.babel(k), float(scale * eps.high) - c.babel(k)
    return nonnegative(low, high=high, how=eps.how)


def _below_one(c: Case, sums: Sequence[tuple[int, int]]) -> Slack:
    """1 - C^2 (sum of a eps_s over the pairs (a, s)) > 0, with eps known exactly or bounded."""
    found = [(a, c.eps(s)) for a, s in sums]
    least_sum, most = sum(a * e.low for a, e in found), sum(a * e.high for a, e in found)
    # in floats, like the conclusion: exact rationals would tell 1 from 1 + 1e-10
    return positive(float(1 - c.C_squared * most), high=float(1 - c.C_squared * least_sum), how=found[0][1].how)


OMP_5 = Statement(
    "OMP-5",
    "mu_1(k) <= C^2 (k+1) eps^=_{k+1}: expansion bounds the Babel function.",
    _babel_expansion,
    latex=r"\mu_1(k) \le C^2 (k+1)\, \varepsilon^{=}_{k+1}",
    source="THEORY.md OMP-5; tight on stars",
    cost="none / Gram matrix and n^(k+1)",
    check="all sets of columns; exact sizes up to n = 16, cumulative beyond",
    needs=("unit",),
    draws=SETS,
)
OMP_5 = OMP_5.with_mutants(
    OMP_5.mutant(
        "k eps_k",
        "mu_1(k) <= C^2 k eps_k.",
        conclusion=_babel_bound(lambda c: float(c.C_squared), lambda c, k: k * c.eps(max(k, 1)).high),
    ),
    OMP_5.mutant(
        "k for k+1",
        "mu_1(k) <= C^2 k eps_{k+1}.",
        conclusion=_babel_bound(lambda c: float(c.C_squared), lambda c, k: k * c.eps(k + 1).high),
    ),
    OMP_5.mutant(
        "C for C^2",
        "mu_1(k) <= C (k+1) eps_{k+1}.",
        conclusion=_babel_bound(lambda c: c.C, lambda c, k: (k + 1) * c.eps(k + 1).high),
    ),
    OMP_5.mutant(
        "no C",
        "mu_1(k) <= (k+1) eps_{k+1}, whatever the weights.",
        conclusion=_babel_bound(lambda c: 1.0, lambda c, k: (k + 1) * c.eps(k + 1).high),
    ),
)
OMP_5E = Statement(
    "OMP-5e",
    "If C^2 [(k+1) eps_{k+1} + k eps_k] < 1, ERC(S) < 1 for every |S| <= k: OMP recovers every k-sparse code.",
    erc_below_one,
    {"C^2 [(k+1) eps_k+1 + k eps_k] < 1": lambda c: _below_one(c, [(c.k + 1, c.k + 1), (c.k, c.k)])},
    latex=r"C^2\big[(k+1)\varepsilon_{k+1} + k\varepsilon_k\big] < 1 \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="THEORY.md OMP-5 with OMP-3",
    cost="eps_{k+1} / C(n, k)",
    check=ALL_SETS,
    needs=("unit",),
    draws=Draws(max_m=10, max_n=6, max_k=3),
)
PAPER_OMP = Statement(
    "PAPER-OMP",
    "The paper's ratio R_OMP = C^2 eps_{k+1} (2k+1) < 1: OMP recovers every k-sparse code. It is implied by OMP-5.",
    erc_below_one,
    {"R_OMP < 1": lambda c: _below_one(c, [(2 * c.k + 1, c.k + 1)])},
    latex=r"R_{\mathrm{OMP}} = C^2 \varepsilon_{k+1}(2k+1) < 1",
    source="Mendoza-Smith 2026, as its code computes it; THEORY.md, the paper's two conditions",
    cost="eps_{k+1} / C(n, k)",
    check=ALL_SETS + "; eps exact or bounded above, never the greedy lower bound",
    needs=("unit",),
    draws=Draws(max_m=10, max_n=6, max_k=3),
)

STATEMENTS = (OMP_4, OMP_5, OMP_5E, PAPER_OMP)
