"""Section C of THEORY.md: what a one-step code captures on average over random signs, all of them enumerated."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import require
from expander_theory.dictionaries import Floats
from expander_theory.theorems.case import Case
from expander_theory.theorems.slack import Slack, least, nonnegative
from expander_theory.theorems.statement import Draws, Statement

MAX_PATTERNS = 2**16
"""Most sign patterns that are enumerated."""

_THRESHOLDS = 24
"""Most thresholds that are tried."""


# ---- TOPK-5: random signs of the activation


def _signed_activations(c: Case) -> Floats:
    """|h|/||h|| with all signs on the rows that columns meet, one a row, shape (patterns, m)."""
    met = np.flatnonzero(c.mask.row_degrees)
    patterns = 2 ** len(met)
    require(patterns <= MAX_PATTERNS, "m", c.m, f"asks for {patterns} sign patterns; at most {MAX_PATTERNS} are tried")
    signs = np.ones((patterns, c.m))
    signs[:, met] = list(itertools.product((1.0, -1.0), repeat=len(met)))
    return signs * np.abs(c.h) / np.linalg.norm(c.h)


def _thresholds(scores: Floats) -> list[float]:
    """Thresholds between different scores, and one below all: what they select is all that any t >= 0 selects."""
    levels = np.sort(np.concatenate([[0.0], scores[scores > 0]]))
    gaps = np.flatnonzero(np.diff(levels) > 1e-6)
    found = (levels[gaps] + levels[gaps + 1]) / 2
    return found[np.unique(np.linspace(0, len(found) - 1, _THRESHOLDS).astype(int))].tolist() if len(found) else []


@dataclass(frozen=True)
class _Average:
    """A selection on activations of energy 1: E captured, E g_j^2 and P(j selected), shape (n,)."""

    captured: float
    energies: Floats
    chances: Floats

    @property
    def p(self) -> float:
        """sum_j E g_j^2."""
        return float(self.energies.sum())


def _average(c: Case, signed: Floats, scores: Floats, chosen: NDArray[np.bool_]) -> _Average:
    g = np.where(chosen, scores, 0.0)
    errors = ((signed - g @ c.W.T) ** 2).sum(axis=1)
    return _Average(float(1 - errors.mean()), (g**2).mean(axis=0), chosen.mean(axis=0))


def _by_threshold(c: Case, one_sided: bool = False) -> Iterator[_Average]:
    signed = _signed_activations(c)
    scores = signed @ c.W
    sized = scores if one_sided else np.abs(scores)
    for t in _thresholds(sized):
        yield _average(c, signed, scores, sized > t)


def _by_rank(c: Case) -> Iterator[_Average]:
    signed = _signed_activations(c)
    scores = signed @ c.W
    yield _average(c, signed, scores, _largest(np.abs(scores), c.k))


def _by_threshold_on_h(c: Case) -> Iterator[_Average]:
    """The activation itself instead of an average."""
    signed = (c.h / np.linalg.norm(c.h))[None]
    scores = signed @ c.W
    for t in _thresholds(np.abs(scores)):
        yield _average(c, signed, scores, np.abs(scores) > t)


def _largest(sizes: Floats, k: int) -> NDArray[np.bool_]:
    """The k largest of each row, none of size 0; ties (to nine decimals, so that rounding breaks none) by index."""
    sizes = np.round(sizes, 9)
    order = np.argsort(-sizes, axis=1, kind="stable")[:, :k]
    chosen = np.zeros(sizes.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen & (sizes > 0)


def _peaks(c: Case) -> Floats:
    """||w_j||_inf^2, shape (n,)."""
    return (c.values**2).max(axis=1)


def _weighted(c: Case, a: _Average) -> float:
    """The mean of ||w_j||_inf^2 weighted by E g_j^2."""
    return float(_peaks(c) @ a.energies) / a.p if a.p > 0 else 1.0


def _capped(
    eta: Callable[[Case, _Average], float] = _weighted, averages: Callable[[Case], Iterator[_Average]] = _by_threshold
) -> Callable[[Case], Slack]:
    """(1 + eta) p - p^2 less the share captured, for every selection."""

    def conclusion(c: Case) -> Slack:
        slacks = [nonnegative((1 + eta(c, a)) * a.p - a.p**2 - a.captured) for a in averages(c)]
        return least(nonnegative(1.0), *slacks)

    return conclusion


_ONE_ROW = {"o <= 1": lambda c: nonnegative(1 - c.overlap)}

TOPK_5 = Statement(
    "TOPK-5",
    "For overlaps of at most 1, unit columns, fixed |h|, independent uniform signs of h, and one step with threshold "
    "|c_j| > t, E captured <= ((1 + eta) p - p^2) ||h||^2 <= ((1 + eta)/2)^2 ||h||^2, with p = sum_j E g_j^2/||h||^2, "
    "g the code, and eta the mean of ||w_j||_inf^2 weighted by E g_j^2, or its largest value. So to capture a share f "
    "on average takes a column with ||w_j||_inf^2 >= 2 sqrt(f) - 1.",
    _capped(),
    _ONE_ROW,
    latex=r"\frac{\mathbb E\,\mathrm{captured}}{\|h\|^2} \le (1 + \eta)p - p^2 \le \Big(\frac{1 + \eta}{2}\Big)^2",
    source="THEORY.md TOPK-5",
    cost="B^T B / 2^m n m",
    check="all sign patterns on the rows that are met, at up to 24 thresholds",
    needs=("unit",),
    draws=Draws(max_n=4, signal=True),
)
TOPK_5 = TOPK_5.with_mutants(
    TOPK_5.mutant("no eta", "E captured <= (p - p^2) ||h||^2.", conclusion=_capped(lambda c, a: 0.0)),
    TOPK_5.mutant("flat", "1/d stands for eta, flat or not.", conclusion=_capped(lambda c, a: 1 / c.d)),
    TOPK_5.mutant("plain mean", "eta is the plain mean.", conclusion=_capped(lambda c, a: float(_peaks(c).mean()))),
    TOPK_5.mutant("o=2", "Overlaps of 2 are allowed.", hypotheses={"o <= 2": lambda c: nonnegative(2 - c.overlap)}),
    TOPK_5.mutant("one activation", "It holds for every h by itself.", conclusion=_capped(averages=_by_threshold_on_h)),
    TOPK_5.mutant("TopK", "The k largest |c_j| stand for a threshold.", conclusion=_capped(averages=_by_rank)),
)


# ---- TOPK-5n: one-sided thresholds


def _one_sided(by_chance: bool) -> Callable[[Case], Slack]:
    def eta(c: Case, a: _Average) -> float:
        peak = _weighted(c, a)
        return peak + float(a.chances.max()) * (1 - peak) if by_chance else peak

    return _capped(eta, lambda c: _by_threshold(c, one_sided=True))


TOPK_5N = Statement(
    "TOPK-5n",
    "For one-sided thresholds c_j > t >= 0 (ReLU, JumpReLU), otherwise as TOPK-5, the same with eta + q (1 - eta) for "
    "eta, q the largest probability with which a column is selected.",
    _one_sided(by_chance=True),
    _ONE_ROW,
    latex=r"\frac{\mathbb E\,\mathrm{captured}}{\|h\|^2} \le (1 + \eta + q(1 - \eta))p - p^2,\quad "
    r"q = \max_j P(c_j > t)",
    source="THEORY.md TOPK-5",
    cost="B^T B / 2^m n m",
    check=TOPK_5.check,
    needs=("unit",),
    draws=TOPK_5.draws,
)
TOPK_5N = TOPK_5N.with_mutants(
    TOPK_5N.mutant("no q", "The same with eta itself.", conclusion=_one_sided(by_chance=False)),
)


# ---- TOPK-5r: random signs of the columns


def _pair_products(c: Case, relu: bool = True, two_sided: bool = True) -> Iterator[tuple[Floats, float]]:
    """For each rule, E[c_j c_l G_jl; j, l selected], shape (n, n), and E captured, over all signs of all entries."""
    patterns = 2 ** (c.n * c.d)
    require(patterns <= MAX_PATTERNS, "n", c.n, f"asks for {patterns} sign patterns; at most {MAX_PATTERNS} are tried")
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=c.d)))
    columns = np.zeros((c.n, len(signs), c.m))
    columns[np.arange(c.n)[:, None, None], np.arange(len(signs))[:, None], c.mask.rows[:, None, :]] = (
        signs * np.abs(c.values)[:, None, :]
    )
    h = c.h / np.linalg.norm(c.h)
    which = np.indices((len(signs),) * c.n).reshape(c.n, -1)
    scores = np.stack([(columns[j] @ h)[which[j]] for j in range(c.n)], axis=1)
    for sizes in [np.abs(scores)] * two_sided + [np.maximum(scores, 0) if relu else scores - scores.min() + 1]:
        g = np.where(_largest(sizes, c.k), scores, 0.0)
        products = np.zeros((c.n, c.n))
        for j, l in itertools.product(range(c.n), repeat=2):
            products[j, l] = (g[:, j] * g[:, l] * (columns[j] @ columns[l].T)[which[j], which[l]]).mean()
        rebuilt = sum(g[:, j, None] * columns[j][which[j]] for j in range(c.n))
        yield products, 1 - float(((h - rebuilt) ** 2).sum(axis=1).mean())


def _nonnegative_pairs(relu: bool = True, two_sided: bool = True) -> Callable[[Case], Slack]:
    def conclusion(c: Case) -> Slack:
        slacks = []
        for products, share in _pair_products(c, relu, two_sided):
            slacks += [nonnegative(float(products.min())), nonnegative(float(np.trace(products)) - share)]
        return least(*slacks)

    return conclusion


def _pairs_of(c: Case, average: bool) -> Slack:
    """The least c_j c_l G_jl of a selected pair, for W as given; or its mean over the signs of h alone."""
    signed = _signed_activations(c) if average else (c.h / np.linalg.norm(c.h))[None]
    scores = signed @ c.W
    g = np.where(_largest(np.abs(scores), c.k), scores, 0.0)
    return nonnegative(float((g.T @ g / len(g) * c.G).min()))


TOPK_5R = Statement(
    "TOPK-5r",
    "Independent uniform signs of all entries of W, any mask, moduli and h, exact |.|-TopK_k, or TopK_k after a ReLU: "
    "E[c_j c_l G_jl; j and l selected] >= 0 for every pair, so E captured <= E sum_S c_j^2 for unit columns.",
    _nonnegative_pairs(),
    latex=r"\mathbb E[c_j c_l G_{jl};\ j, l \in S] \ge 0,\quad \mathbb E\,\mathrm{captured} \le \mathbb E\|c_S\|^2",
    source="THEORY.md TOPK-5r",
    cost="none / 2^(n d) n^2",
    check="all signs of all entries, both rules, ties by index",
    needs=("unit",),
    draws=Draws(max_m=5, max_n=4, signal=True),
)
TOPK_5R = TOPK_5R.with_mutants(
    TOPK_5R.mutant("fixed signs", "It holds for every W.", conclusion=lambda c: _pairs_of(c, average=False)),
    TOPK_5R.mutant("signs of h", "Random signs of h are enough.", conclusion=lambda c: _pairs_of(c, average=True)),
    TOPK_5R.mutant("no ReLU", "It holds for signed TopK_k without a ReLU.",
                   conclusion=_nonnegative_pairs(relu=False, two_sided=False)),
)  # fmt: skip

STATEMENTS = (TOPK_5, TOPK_5N, TOPK_5R)
