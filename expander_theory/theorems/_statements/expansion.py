"""Section A of THEORY.md, first half: expansion of the mask, and certificates for it."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np

from expander_theory.dictionaries import column_overlaps, largest_overlap_sums, spectral_neighbours
from expander_theory.theorems.case import Case
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

_MASKS = Draws(values="positive", max_n=8, max_k=6)
_ENUMERATED = "all sets of columns enumerated, exact rationals"


# ---- EXP-0

EXP_0 = Statement(
    "EXP-0",
    "eps_s, the largest coll(S)/(d|S|) over all sets of at most s columns, does not decrease with s.",
    lambda c: least(*(nonnegative(c.subsets.eps(t + 1) - c.subsets.eps(t)) for t in range(1, max(2, c.n)))),
    latex=r"\varepsilon_s = \max_{1 \le t \le s} \varepsilon^{=}_t \le \varepsilon_{s+1}",
    source="definition",
    cost="none / n^s",
    check=_ENUMERATED,
    draws=_MASKS,
)
EXP_0 = EXP_0.with_mutants(
    EXP_0.mutant(
        "exact size",
        "Sets of exactly s columns decide: eps^=_s does not decrease with s.",
        conclusion=lambda c: least(
            *(nonnegative(c.subsets.eps_at(t + 1) - c.subsets.eps_at(t)) for t in range(1, c.n)), nonnegative(0)
        ),
    )
)


# ---- EXP-1


def _prefix_lemma(c: Case) -> Slack:
    order = sorted(c.support, key=lambda j: (-abs(c.x[j]), j))
    weights = [Fraction(float(abs(c.x[j]))) for j in order]
    covered: set[int] = set()
    left = Fraction(0)
    for j, a in zip(order, weights, strict=True):
        rows = {int(i) for i in c.mask.rows[j]}
        left += a * len(rows & covered)
        covered |= rows
    steps = [a - b for a, b in itertools.pairwise([*weights, Fraction(0)])]
    right = sum(step * c.subsets.largest_losses[i] for i, step in enumerate(steps, 1))
    return nonnegative(right - left)


EXP_1 = Statement(
    "EXP-1",
    "Listing a set by decreasing weights a_1 >= ... >= a_t >= 0, with c_i the rows of the i-th column that are covered "
    "already: sum a_i c_i <= sum (a_i - a_{i+1}) floor(eps^=_i d i) <= eps_s d sum a_i.",
    _prefix_lemma,
    latex=r"\sum_i a_i c_i \le \sum_i (a_i - a_{i+1}) \lfloor \varepsilon^{=}_i d\, i \rfloor",
    source="Abel summation; THEORY.md EXP-1",
    cost="none / eps_s + d t",
    check=_ENUMERATED + "; the sharper of the two bounds",
    draws=Draws(values="positive", code="any"),
)


# ---- EXP-2


def _unique_slack(share: Fraction, strict: bool = False):
    """min over |S| = k of |N_1(S)| - (1 - share eps_k) d k."""

    def conclusion(c: Case) -> Slack:
        k = min(c.k, c.n)
        fewest = int(c.subsets.unique[c.subsets.size == k].min())
        bound = (1 - share * c.subsets.eps(k)) * c.d * k
        if strict or share != 2:
            return positive(fewest - bound) if strict else nonnegative(fewest - bound)
        sub = c.subsets
        first = int((sub.unique - 2 * sub.neighbours + c.d * sub.size).min())
        return least(nonnegative(fewest - bound), nonnegative(first))

    return conclusion


EXP_2 = Statement(
    "EXP-2",
    "Every set S of at most s columns has at least (1 - 2 eps_s) d|S| rows that exactly one of its columns meets.",
    _unique_slack(Fraction(2)),
    latex=r"|N_1(S)| \ge 2|N(S)| - d|S| \ge (1 - 2\varepsilon_s)\, d |S|",
    source="folklore; equality iff no row is met three times",
    cost="none / n^s",
    check=_ENUMERATED,
    draws=_MASKS,
)
EXP_2 = EXP_2.with_mutants(
    EXP_2.mutant("without 2", "|N_1(S)| >= (1 - eps_s) d|S|.", conclusion=_unique_slack(Fraction(1))),
    EXP_2.mutant("strict", "|N_1(S)| > (1 - 2 eps_s) d|S|.", conclusion=_unique_slack(Fraction(2), strict=True)),
)


# ---- EXP-3


def overlap_bounds(o: int, d: int, s: int, sums: list[int] | None = None) -> list[Fraction]:
    """The certificates (a), (b), (c) of EXP-3 on eps_s and, from the sums O_j(s - 1) of all columns, (d)."""
    bounds = [
        Fraction(o * (s - 1), 2 * d),
        1 - Fraction(sum(max(0, d - o * t) for t in range(s)), d * s),
        Fraction(o * (s - 1), d + o * (s - 1)),
    ]
    if sums is not None:
        bounds.append(Fraction(max(sums), 2 * d))
    return bounds


def _overlap_sums(c: Case, s: int) -> list[int]:
    return [int(total) for total in largest_overlap_sums(column_overlaps(c.mask), s - 1)]


def _overlap_certificates(c: Case) -> Slack:
    s = min(c.k, c.n)
    sums = _overlap_sums(c, s)
    exact_size = Fraction(sum(sorted(sums, reverse=True)[:s]), 2 * c.d * s)
    bounds = overlap_bounds(c.overlap, c.d, s, sums)
    eps = c.eps(s)
    how = eps.how
    parts = [nonnegative(bound - eps.high, high=bound - eps.low, how=how) for bound in bounds]
    if c.n <= 16:
        parts.append(nonnegative(exact_size - c.subsets.eps_at(s)))
    return least(*parts)


EXP_3 = Statement(
    "EXP-3",
    "With o the largest overlap of two columns and O_j(t) the sum of the t largest overlaps of column j: eps_s is at "
    "most (a) o(s-1)/(2d), (b) 1 - sum_{t<s} max(0, d - ot)/(ds), (c) o(s-1)/(d + o(s-1)), (d) max_j O_j(s-1)/(2d); "
    "and eps^=_s at most the sum of the s largest O_j(s-1) over 2ds.",
    _overlap_certificates,
    latex=r"\varepsilon_s \le \tfrac{o(s-1)}{2d},\; 1 - \tfrac{1}{ds}\sum_{t<s}(d-ot)_+,\; \tfrac{o(s-1)}{d+o(s-1)},\; "
    r"\max_j \tfrac{O_j(s-1)}{2d}",
    source="Bonferroni, Cauchy-Schwarz; THEORY.md EXP-3",
    cost="none / sum of squared row degrees; n^s to compare",
    check=_ENUMERATED,
    draws=_MASKS,
)
EXP_3 = EXP_3.with_mutants(
    EXP_3.mutant(
        "s-2",
        "eps_s <= o(s-2)/(2d).",
        hypotheses={"s >= 2": lambda c: nonnegative(min(c.k, c.n) - 2)},
        conclusion=lambda c: nonnegative(Fraction(c.overlap * (min(c.k, c.n) - 2), 2 * c.d) - c.subsets.eps(c.k)),
    ),
    EXP_3.mutant(
        "2d for d",
        "eps_s <= o(s-1)/(2d + o(s-1)).",
        conclusion=lambda c: nonnegative(
            Fraction(c.overlap * (min(c.k, c.n) - 1), 2 * c.d + c.overlap * (min(c.k, c.n) - 1)) - c.subsets.eps(c.k)
        ),
    ),
)


def _never_half(count: int) -> Any:
    """The least of the first ``count`` certificates of EXP-3, minus 1/2."""

    def conclusion(c: Case) -> Slack:
        s = min(c.k, c.n)
        return nonnegative(min(overlap_bounds(c.overlap, c.d, s, _overlap_sums(c, s))[:count]) - Fraction(1, 2))

    return conclusion


EXP_3V = Statement(
    "EXP-3v",
    "At s >= 1 + d/o the certificates (a), (b), (c) of EXP-3 are at least 1/2; (d) alone may still be below.",
    _never_half(3),
    {"o(s-1) >= d": lambda c: nonnegative(c.overlap * (min(c.k, c.n) - 1) - c.d)},
    latex=r"s \ge 1 + d/o \Rightarrow (a), (b), (c) \ge \tfrac12",
    source="THEORY.md EXP-3 and corrections",
    cost="B^T B / trivial",
    check="exact rationals",
    draws=_MASKS,
)
EXP_3V = EXP_3V.with_mutants(EXP_3V.mutant("d too", "All four are at least 1/2.", conclusion=_never_half(4)))


# ---- EXP-4


def _transfer(growth) -> Any:
    def conclusion(c: Case) -> Slack:
        sub, parts = c.subsets, []
        for s, t in itertools.combinations(range(2, c.n + 1), 2):
            parts.append(nonnegative(sub.eps_at(s) * growth(s, t) - sub.eps_at(t)))
            parts.append(nonnegative(sub.eps(s) * growth(s, t) - sub.eps(t)))
        return least(*parts) if parts else nonnegative(0)

    return conclusion


EXP_4 = Statement(
    "EXP-4",
    "Expansion of small sets bounds that of large ones: eps_t <= eps_s (t-1)/(s-1) for 2 <= s <= t <= n, for exact "
    "sizes and cumulatively.",
    _transfer(lambda s, t: Fraction(t - 1, s - 1)),
    latex=r"\varepsilon^{=}_t \le \varepsilon^{=}_s \tfrac{t-1}{s-1}",
    source="THEORY.md EXP-4 (uniform subsets, convexity)",
    cost="none / n^t",
    check=_ENUMERATED,
    draws=Draws(values="positive", max_n=7),
)
EXP_4 = EXP_4.with_mutants(
    EXP_4.mutant("no growth", "eps_t <= eps_s for s <= t.", conclusion=_transfer(lambda s, t: Fraction(1)))
)


# ---- EXP-5


def _fewest_neighbours(c: Case) -> int:
    k = min(c.k, c.n)
    return int(c.subsets.neighbours[c.subsets.size == k].min())


def _spectral(c: Case) -> Slack:
    s = min(c.k, c.n)
    bounds = [spectral_neighbours(c.mask, s, form=form) for form in ("a", "b")]
    return nonnegative(float(_fewest_neighbours(c) - max(bounds)))


def _tanner(c: Case) -> Slack:
    return nonnegative(float(_fewest_neighbours(c) - spectral_neighbours(c.mask, min(c.k, c.n), form="c")))


def _tanner_on_average(c: Case) -> Slack:
    """Tanner's formula with the mean row degree."""
    s, d = min(c.k, c.n), c.d
    B = c.mask.to_scipy().toarray()
    l2 = float(np.sort(np.linalg.eigvalsh(B.T @ B))[-2]) if c.n > 1 else 0.0
    return nonnegative(float(_fewest_neighbours(c) - d * d * s / ((d * (c.n * d / c.m) - l2) * s / c.n + l2)))


def _vacuity(c: Case) -> Slack:
    sigma = np.linalg.norm(c.mask.to_scipy().toarray() - c.d / c.m, 2)
    return nonnegative(float(sigma**2 - c.n * c.d * (1 - c.d / c.m) / (c.m - 1)) if c.m > 1 else 0)


_RIGHT_REGULAR = {
    "all row degrees equal": lambda c: nonnegative(int(c.mask.row_degrees.min() - c.mask.row_degrees.max()))
}

EXP_5 = Statement(
    "EXP-5",
    "For |S| = s, (a) |N(S)| >= d^2 s^2/(l2 s + (l1 - l2) U_s^2), with l1, l2 the top eigenvalues of B^T B and U_s the "
    "sum of the s largest entries of the top eigenvector; (b) |N(S)| >= d^2 s/(d^2 s/m + sigma^2) with sigma the norm "
    "of B - (d/m) 11^T. Any row degrees.",
    _spectral,
    latex=r"|N(S)| \ge \frac{d^2 s^2}{\lambda_2 s + (\lambda_1 - \lambda_2) U_s^2},\quad "
    r"|N(S)| \ge \frac{d^2 s}{d^2 s/m + \sigma^2}",
    source="Cauchy-Schwarz; after Tanner 1984",
    cost="none / one sparse SVD; n^s to compare",
    check="all sets enumerated; eigenvalues in floats, 1e-9",
    draws=_MASKS,
)
EXP_5C = Statement(
    "EXP-5c",
    "If all rows have the same degree D: |N(S)| >= d^2 s/((dD - l2) s/n + l2) for |S| = s.",
    _tanner,
    _RIGHT_REGULAR,
    latex=r"|N(S)| \ge \frac{d^2 s}{(dD - \lambda_2)s/n + \lambda_2}",
    source="R. M. Tanner, SIAM J. Alg. Disc. Meth. 1984",
    cost="row degrees / one SVD; n^s to compare",
    check="all sets enumerated; eigenvalues in floats, 1e-9",
    draws=_MASKS,
)
EXP_5C = EXP_5C.with_mutants(
    EXP_5C.mutant(
        "irregular", "The same with the average row degree, rows of any degree but none empty.",
        hypotheses={"no empty row": lambda c: positive(int(c.mask.row_degrees.min()))}, conclusion=_tanner_on_average,
    )
)  # fmt: skip
EXP_5D = Statement(
    "EXP-5d",
    "sigma^2 >= nd(1 - d/m)/(m-1): the certificate (b) cannot reach eps_s < 1/2 when n(1 - d/m) >= 2(m-1): "
    "vacuous at SAE shapes.",
    _vacuity,
    latex=r"\sigma^2 \ge \frac{nd(1 - d/m)}{m-1}",
    source="trace; see also Kahale, J. ACM 1995",
    cost="none / one SVD",
    check="singular values in floats",
    draws=_MASKS,
)


STATEMENTS = (EXP_0, EXP_1, EXP_2, EXP_3, EXP_3V, EXP_4, EXP_5, EXP_5C, EXP_5D)
