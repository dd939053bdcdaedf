"""Section C of THEORY.md, last part: random signs, amplitudes, and the median encoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from statistics import median

import numpy as np

from expander_theory.dictionaries import Floats
from expander_theory.theorems._statements.pursuit.margins import expansions, full_rank, gram_rows, outside
from expander_theory.theorems.case import Case
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

_CODES = Draws(code="k")
_HALF = Fraction(1, 2)


def _signs(k: int) -> Floats:
    """All signs of k entries up to a common one, one pattern a column, shape (k, 2^(k-1)): their share is the same."""
    return np.array([(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=k - 1)]).T


# ---- TOPK-3


def _sign_failures(c: Case) -> Fraction:
    """Share of the 2^k sign patterns for which |.|-TopK of W^T W x is not S, ties included."""
    codes = _signs(len(c.support)) * np.abs(c.x[list(c.support)])[:, None]
    scores = np.abs(gram_rows(c, c.support).T @ codes)
    within, beyond = scores[list(c.support)].min(axis=0), scores[outside(c, c.support)].max(axis=0, initial=0.0)
    return Fraction(int((within <= beyond + 1e-12 * c.x_max).sum()), codes.shape[1])


def _interference_bound(c: Case, divisor: float = 8.0) -> float:
    """2 sum_j exp(-x_min^2/(divisor v_j)), v_j = sum over l in S without j of x_l^2 G_jl^2."""
    chosen = list(c.support)
    terms = (gram_rows(c, chosen) * c.x[chosen][:, None]) ** 2
    terms[np.arange(len(chosen)), chosen] = 0
    v = terms.sum(axis=0)
    return 2 * float(np.exp(-(c.x_min**2) / (divisor * v[v > 0])).sum())


TOPK_3 = Statement(
    "TOPK-3",
    "For fixed S and |x| and independent uniform signs, P(TopK wrong) <= 2 sum_j exp(-x_min^2/(8 v_j)), with "
    "v_j = sum_{l in S, l != j} x_l^2 G_jl^2, over all columns j.",
    lambda c: nonnegative(_interference_bound(c) - float(_sign_failures(c))),
    latex=r"P(\text{TopK wrong}) \le 2\sum_j \exp\!\Big(\!-\frac{x_{\min}^2}{8 v_j}\Big)",
    source="Hoeffding; cf. Schnass, Vandergheynst 2007",
    cost="none / 2^k n",
    check="the exact share of all sign patterns",
    needs=("unit",),
    draws=Draws(values="flat", code="k"),
)
TOPK_3 = TOPK_3.with_mutants(
    TOPK_3.mutant(
        "x_min",
        "P(TopK wrong) <= 2 sum_j exp(-x_min^2/(2 v_j)).",
        conclusion=lambda c: nonnegative(_interference_bound(c, 2.0) - float(_sign_failures(c))),
    )
)


# ---- TOPK-4


def _amplitudes(c: Case) -> Slack:
    chosen = list(c.support)
    k, inner = len(chosen), gram_rows(c, chosen)[:, chosen]
    signs = _signs(k) if k <= 10 else np.sign(c.x[chosen])[:, None]
    codes = np.column_stack([signs * np.abs(c.x[chosen])[:, None], c.x[chosen]])
    errors = np.abs(inner @ codes - codes).max()
    fit = np.linalg.lstsq(c.W[:, chosen], c.W[:, chosen] @ codes, rcond=None)[0]
    return least(
        nonnegative(float(c.babel(k - 1) - errors / c.x_max)),
        nonnegative(-float(np.abs(fit - codes).max() / c.x_max), how="least squares"),
    )


TOPK_4 = Statement(
    "TOPK-4",
    "Even with the right support, the tied amplitudes are off by (G_S - I) x_S, at most mu_1(k-1) x_max; least squares "
    "on S is exact.",
    _amplitudes,
    {"W_S full rank": full_rank},
    latex=r"\|(G_S - I)x_S\|_\infty \le \mu_1(k-1)\, x_{\max}",
    source="THEORY.md TOPK-4",
    cost="k^3 / Gram matrix",
    check="all sign patterns of the code",
    needs=("unit",),
    draws=_CODES,
    floor=0.2,
)


# ---- AVG-1


def bp_dual_value(W: Floats, support: tuple[int, ...], signs: Floats) -> float:
    """min of max_{j notin S}|w_j^T u| over u with W_S^T u = signs; for independent W_S, BP is unique iff it is below 1.

    A linear programme (HiGHS); infinity if no such u exists.
    """
    from scipy.optimize import linprog

    chosen = list(support)
    others = np.delete(W, chosen, axis=1).T
    if not len(others):
        return 0.0
    bound = np.ones((len(others), 1))
    found = linprog(
        np.eye(W.shape[0] + 1)[-1],
        A_ub=np.block([[others, -bound], [-others, -bound]]),
        b_ub=np.zeros(2 * len(others)),
        A_eq=np.column_stack([W[:, chosen].T, np.zeros(len(chosen))]),
        b_eq=signs,
        bounds=(None, None),
        method="highs",
    )
    return float(found.fun) if found.status == 0 else math.inf


def _bp_failures(c: Case) -> Fraction:
    """Share of the sign patterns whose code is not the only minimiser; LPs only where Fuchs' certificate fails."""
    found = expansions(c, c.support)
    if found is None:
        return Fraction(1)
    signs = _signs(len(c.support))
    fuchs = np.abs(found[:, outside(c, c.support)].T @ signs).max(axis=0, initial=0.0)
    doubtful = np.nonzero(fuchs >= 1 - 1e-9)[0]
    wrong = sum(bp_dual_value(c.W, c.support, signs[:, s]) >= 1 - 1e-6 for s in doubtful)
    return Fraction(wrong, signs.shape[1])


def _bp_bound(c: Case, factor: float = 2.0, exponent: float = 0.5) -> float:
    """factor * sum_{j notin S} exp(-exponent/||W_S^+ w_j||_2^2)."""
    found = expansions(c, c.support)
    if found is None:
        return math.inf
    squares = (found[:, outside(c, c.support)] ** 2).sum(axis=0)
    return factor * float(np.exp(-exponent / squares[squares > 0]).sum())


def _bp_rarely_fails(factor: float = 2.0, exponent: float = 0.5) -> Callable[[Case], Slack]:
    return lambda c: nonnegative(_bp_bound(c, factor, exponent) - float(_bp_failures(c)))


AVG_1 = Statement(
    "AVG-1",
    "For W_S of full rank, fixed |x| and uniform signs, P(basis pursuit does not return x alone) <= "
    "2 sum_{j notin S} exp(-1/(2 ||W_S^+ w_j||_2^2)).",
    _bp_rarely_fails(),
    {"W_S full rank": full_rank},
    latex=r"P(\text{BP fails}) \le 2\sum_{j \notin S}\exp\!\Big(\!-\frac{1}{2\|W_S^{+} w_j\|_2^2}\Big)",
    source="Fuchs 2004; Tropp 2008; Hoeffding",
    cost="k^3 + k^2 n / at most 2^(k-1) LPs",
    check="the exact share of sign patterns without a dual certificate (LP, margin 1e-6) where Fuchs' fails",
    needs=("unit",),
    draws=_CODES,
    floor=0.2,
)
AVG_1 = AVG_1.with_mutants(
    AVG_1.mutant("no factor 2", "The same without the factor 2.", conclusion=_bp_rarely_fails(factor=1.0)),
    AVG_1.mutant(
        "no half", "P(BP fails) <= 2 sum_j exp(-1/||W_S^+ w_j||_2^2).", conclusion=_bp_rarely_fails(exponent=1.0)
    ),
)


# ---- AVG-3


def _babel_violations(c: Case, k: int) -> Fraction:
    """Share of k-supports with A + B >= 1 (OMP-3S), by overlaps: for flat weights and o <= 1, |G_jl| = o(j, l)/d."""
    sets = c.sets(k)
    hits = c.overlaps[sets].sum(axis=1)  # rows of every column that its set meets
    inside = np.take_along_axis(hits, sets, axis=1).max(axis=1)
    np.put_along_axis(hits, sets, 0, axis=1)
    return Fraction(int((hits.max(axis=1) + inside >= c.d).sum()), len(sets))


def _crowding(c: Case, k: int) -> Fraction:
    """sum_j P(Hyp(n-1, R_j, k) >= d/2), R_j the number of columns that overlap column j."""
    total, most = 0, math.comb(c.n - 1, k)
    for R in np.count_nonzero(c.overlaps, axis=1).tolist():
        ways = (math.comb(R, h) * math.comb(c.n - 1 - R, k - h) for h in range(-(-c.d // 2), min(R, k) + 1))
        total += sum(ways)
    return Fraction(total, most)


def _rarely_crowded(c: Case) -> Slack:
    k = min(c.k, c.n - 1)
    return nonnegative(_crowding(c, k) - _babel_violations(c, k) if k else 0)


def _flat(c: Case) -> Slack:
    return nonnegative(1 - c.C_squared)


AVG_3 = Statement(
    "AVG-3",
    "For flat weights and overlaps of at most 1, the share of k-supports with A + B >= 1 (see OMP-3S) is at most "
    "sum_j P(Hyp(n-1, R_j, k) >= d/2), R_j the number of columns that overlap column j.",
    _rarely_crowded,
    {"flat": _flat, "o <= 1": lambda c: nonnegative(1 - c.overlap)},
    latex=r"\frac{\#\{S: A + B \ge 1\}}{\binom nk} \le \sum_j P(\mathrm{Hyp}(n-1, R_j, k) \ge d/2)",
    source="THEORY.md AVG-3",
    cost="B^T B / C(n, k)",
    check="all k-supports, exact rationals",
    draws=Draws(values="flat"),
    floor=0.2,
)


# ---- MED-1


def _most_hits(c: Case) -> int:
    """max over columns j of the number of rows of N(j) that another column of the support meets."""
    load = np.bincount(c.mask.rows[list(c.support)].ravel(), minlength=c.m)
    own = np.isin(np.arange(c.n), c.support).astype(np.int64)
    return int((load[c.mask.rows] > own[:, None]).sum(axis=1).max())


def _median_is_exact(c: Case) -> Slack:
    """-max_j |median_i h_i/w_ij - x_j|, in exact rationals."""
    entries = [[Fraction(float(v)) for v in w] for w in c.dictionary.values]
    x = [Fraction(float(v)) for v in c.x]
    h = [Fraction(0)] * c.m
    for j in c.support:
        for i, w in zip(c.mask.rows[j].tolist(), entries[j], strict=True):
            h[i] += w * x[j]
    found = (
        median(h[i] / w for i, w in zip(rows, entries[j], strict=True)) for j, rows in enumerate(c.mask.rows.tolist())
    )
    return nonnegative(-max(abs(value - x[j]) for j, value in enumerate(found)))


def _few_hits_and_exact(c: Case) -> Slack:
    return least(positive(c.d - 2 * _most_hits(c)), _median_is_exact(c))


def _expansion_below_half(more: int) -> Callable[[Case], Slack]:
    """(k + more) eps_{k+more} < 1/2 for k = |supp x|."""

    def hypothesis(c: Case) -> Slack:
        s = len(c.support) + more
        eps = c.eps(s)
        return positive(_HALF - s * eps.high, high=_HALF - s * eps.low, how=eps.how)

    return hypothesis


MED_1 = Statement(
    "MED-1",
    "If every column j has fewer than d/2 rows that S without j meets, x_j = median over i in N(j) of h_i/w_ij for all "
    "j at once: any full-mask weights, any dynamic range.",
    _median_is_exact,
    {"hits < d/2": lambda c: positive(c.d - 2 * _most_hits(c))},
    latex=r"|N(j) \cap N(S \setminus j)| < \tfrac d2\ \forall j \Rightarrow "
    r"x_j = \mathrm{median}_{i \in N(j)} \frac{h_i}{w_{ij}}",
    source="THEORY.md MED-1",
    cost="d n / d n",
    check="exact rationals",
    needs=("full",),
    draws=_CODES,
)
MED_1 = MED_1.with_mutants(
    MED_1.mutant(
        "equality", "hits <= d/2 suffices.", hypotheses={"hits <= d/2": lambda c: nonnegative(c.d - 2 * _most_hits(c))}
    )
)
MED_1O = Statement(
    "MED-1o",
    "o k < d/2 (o the largest overlap, k = |supp x|) suffices for MED-1.",
    _few_hits_and_exact,
    {"o k < d/2": lambda c: positive(c.d - 2 * c.overlap * len(c.support))},
    latex=r"o\,k < \tfrac d2",
    source="THEORY.md MED-1",
    cost="B^T B / d n",
    check="the hits, and the medians in exact rationals",
    needs=("full",),
    draws=_CODES,
)
MED_1E = Statement(
    "MED-1e",
    "(k+1) eps_{k+1} < 1/2 (k = |supp x|) suffices for MED-1.",
    _few_hits_and_exact,
    {"(k+1) eps_k+1 < 1/2": _expansion_below_half(1)},
    latex=r"(k+1)\,\varepsilon_{k+1} < \tfrac12",
    source="THEORY.md MED-1",
    cost="eps_{k+1} / d n",
    check="the hits, and the medians in exact rationals",
    needs=("full",),
    draws=_CODES,
)
MED_1E = MED_1E.with_mutants(
    MED_1E.mutant("k", "k eps_k < 1/2 suffices.", hypotheses={"k eps_k < 1/2": _expansion_below_half(0)})
)

STATEMENTS = (TOPK_3, TOPK_4, AVG_1, AVG_3, MED_1, MED_1O, MED_1E)
