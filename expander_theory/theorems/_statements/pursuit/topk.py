"""Section C of THEORY.md: the dynamic range up to which the tied TopK encoder is right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from expander_theory.dictionaries import Floats, consecutive_sums
from expander_theory.theorems._ranges import nonnegative_parts, ratio, signed_parts, uniform_range_threshold
from expander_theory.theorems._statements.pursuit.margins import erc_of, gram_rows, has_outside, outside
from expander_theory.theorems.case import Case
from expander_theory.theorems.searching._strategies import with_parts
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

_VERTICES = 2_000_000
"""Most entries of W^T W x for all x at the corners of a range together; beyond, the worst corner alone is tried."""


# ---- the tied encoder on one support


def _corners(c: Case, signed: bool) -> Floats:
    """Codes on S with all moduli at the ends of the code's range, and the code itself; one a column, (|S|, count).

    All corners (and, if signed, all signs); on large supports, only the corner that decides the threshold.
    """
    a, b, chosen = c.x_min, c.x_max, list(c.support)
    own = c.x[chosen] if signed else np.abs(c.x[chosen])
    ends = [a, b, -a, -b] if signed else [a, b]
    if len(ends) ** len(chosen) * c.n <= _VERTICES:
        return np.column_stack([np.array(list(itertools.product(ends, repeat=len(chosen)))).T, own])
    rows = gram_rows(c, chosen)
    ratios = ratio(*(signed_parts if signed else nonnegative_parts)(rows, chosen))
    p, q, *t = np.unravel_index(int(np.argmin(ratios)), ratios.shape)
    against = rows[p, chosen] - (-1.0 if any(t) else 1.0) * rows[:, outside(c, chosen)[q]] < 0
    worst = np.where(against, b, -b if signed else a)
    worst[p] = a
    return np.column_stack([worst, own])


def _scores(c: Case, codes: Floats) -> tuple[Floats, Floats]:
    """W^T W x for codes on the support, in units of the code's least modulus: inside S and outside."""
    scores = gram_rows(c, c.support).T @ codes / c.x_min
    return scores[list(c.support)], scores[outside(c, c.support)]


def sign_consistent_margin(c: Case) -> float:
    """Least of min_S sign(x_i) c_i - max_{S^c} |c_j| over the range of the code, in units of its least modulus."""
    codes = _corners(c, signed=True)
    within, beyond = _scores(c, codes)
    return float(((within * np.sign(codes)).min(axis=0) - np.abs(beyond).max(axis=0, initial=0.0)).min())


def plain_margin(c: Case) -> float:
    """The margin of |.|-TopK, which does not look at signs: min_S |c_i| - max_{S^c} |c_j|."""
    within, beyond = _scores(c, _corners(c, signed=True))
    return float((np.abs(within).min(axis=0) - np.abs(beyond).max(axis=0, initial=0.0)).min())


def _nonnegative_margin(c: Case, relu: bool = False) -> float:
    """The same for signed TopK (after a ReLU) of nonnegative codes."""
    within, beyond = _scores(c, _corners(c, signed=False))
    rival = beyond.max(axis=0, initial=-math.inf)
    return float((within.min(axis=0) - (np.maximum(rival, 0) if relu else rival)).min())


def _range(c: Case) -> float:
    return c.x_max / c.x_min


Parts = Callable[[Case], tuple[Floats, Floats]]


def _of_code(parts: Callable[[Floats, Sequence[int]], tuple[Floats, Floats]]) -> Parts:
    return lambda c: parts(gram_rows(c, c.support), c.support)


def _within(parts: Parts) -> Callable[[Case], Slack]:
    """b/a < min above/below, and min (above - b/a below) > 0, so that no quotient of rounding errors decides."""

    def hypothesis(c: Case) -> Slack:
        above, below = parts(c)
        margin = float((above - _range(c) * below).min(initial=math.inf))
        return least(positive(float(ratio(above, below).min(initial=math.inf)) - _range(c)), positive(margin))

    return hypothesis


def _beyond(parts: Parts) -> Callable[[Case], Slack]:
    """b/a >= min above/below."""
    return lambda c: nonnegative(_range(c) - float(ratio(*parts(c)).min(initial=math.inf)))


_SIGNED, _NONNEGATIVE = _of_code(signed_parts), _of_code(nonnegative_parts)
_OUTSIDE = {"S is not everything": has_outside}
_CODES = Draws(code="k")
_CORNERS = "all codes at the corners of the range (the margin is least there), and the code itself"

TOPK_1 = Statement(
    "TOPK-1",
    "For codes on S with moduli in [a, b] and any signs, c = W^T W x has |c_i| > |c_j| and sign c_i = sign x_i for all "
    "i in S, j notin S, if b/a < R*(S).",
    lambda c: positive(sign_consistent_margin(c)),
    {**_OUTSIDE, "b/a < R*(S)": _within(_SIGNED)},
    latex=r"\frac ba < R^*(S) := \min_{i \in S, j \notin S, \tau = \pm 1} "
    r"\frac{1 - \tau G_{ij}}{\sum_{l \in S \setminus i} |G_{il} - \tau G_{jl}|}",
    source="THEORY.md TOPK-1",
    cost="k^2 n / 4^k n",
    check=_CORNERS,
    needs=("unit",),
    draws=_CODES,
    floor=0.2,
)


def _any_range(condition: Callable[[Case], Slack], text: str, name: str, **changes: Any) -> Statement:
    """A wrong variant: another condition is enough for |.|-TopK."""
    conclusion = changes.pop("conclusion", lambda c: positive(plain_margin(c)))
    return TOPK_1.mutant(name, text, hypotheses={**_OUTSIDE, text: condition}, conclusion=conclusion, **changes)


def _equal_moduli_margin(c: Case) -> Slack:
    return positive(plain_margin(with_parts(c, code=np.sign(c.x))))


TOPK_1 = TOPK_1.with_mutants(
    _any_range(lambda c: positive(1 - erc_of(c)), "ERC(S) < 1 suffices for TopK at any range.", "ERC"),
    _any_range(
        lambda c: positive(1 - consecutive_sums(c.babel, len(c.support))),
        "OMP's mu_1(k) + mu_1(k-1) < 1 suffices for TopK at any range.",
        "Babel at any range",
    ),
    _any_range(lambda c: positive(1 / _range(c) - c.babel(len(c.support))), "x_min/x_max > mu_1(k) suffices.", "mu_1"),
    _any_range(
        lambda c: positive(1 - c.babel(len(c.support))),
        "mu_1(k) < 1 suffices for codes of equal moduli.",
        "range 1",
        conclusion=_equal_moduli_margin,
    ),
)
TOPK_1C = Statement(
    "TOPK-1c",
    "Conversely, if b/a >= R*(S), the tied encoder is not sign-consistently right on some code on S with moduli in "
    "[a, b].",
    lambda c: nonnegative(-sign_consistent_margin(c)),
    {**_OUTSIDE, "b/a >= R*(S)": _beyond(_SIGNED)},
    latex=r"\frac ba \ge R^*(S) \Rightarrow \exists x \in \pm[a,b]^S: \text{the tied encoder fails}",
    source="THEORY.md TOPK-1",
    cost="k^2 n / 4^k n",
    check=_CORNERS,
    needs=("unit",),
    draws=_CODES,
)


def _uniform_babel(c: Case) -> Slack:
    threshold = uniform_range_threshold(c.G, c.k)
    return nonnegative(consecutive_sums(c.babel, c.k) - 1 / threshold if threshold > 0 else -1.0)


TOPK_1U = Statement(
    "TOPK-1u",
    "If mu_1(k) + mu_1(k-1) < 1, R*_k (the least R*(S) over |S| = k) is at least 1/(mu_1(k) + mu_1(k-1)): the range "
    "that the tied encoder bears on every support.",
    _uniform_babel,
    {
        "k < n": lambda c: positive(c.n - c.k),
        "mu_1(k) + mu_1(k-1) < 1": lambda c: positive(1 - consecutive_sums(c.babel, c.k)),
    },
    latex=r"R^*_k \ge \frac{1}{\mu_1(k) + \mu_1(k-1)}",
    source="THEORY.md TOPK-1",
    cost="Gram matrix, row partial sorts / n^3",
    check="R*_k exactly, compared by reciprocals",
    needs=("unit",),
    draws=Draws(max_k=4),
    floor=0.2,
)
TOPK_1M = Statement(
    "TOPK-1mu",
    "If k < (1 + x_min/(mu x_max))/2 (k = |supp x|), the tied encoder is sign-consistently right on x.",
    lambda c: positive(sign_consistent_margin(c)),
    {**_OUTSIDE, "(2k-1) mu < x_min/x_max": lambda c: positive(1 / _range(c) - (2 * len(c.support) - 1) * c.mu)},
    latex=r"k < \tfrac12\Big(1 + \frac{x_{\min}}{\mu\, x_{\max}}\Big)",
    source="THEORY.md TOPK-1; Donoho, Elad, Temlyakov 2006 for thresholding",
    cost="Gram matrix / 4^k n",
    check=_CORNERS,
    needs=("unit",),
    draws=_CODES,
    floor=0.2,
)


def _disturbance(c: Case) -> Floats:
    """W^T e."""
    return np.zeros(c.n) if c.noise is None else c.W.T @ c.noise


def _disturbed_margin(c: Case) -> Slack:
    """The code drawn, with e and -e, each of the size that the hypothesis allows."""
    sigma, scores = np.sign(c.x[list(c.support)]), gram_rows(c, c.support).T @ c.x[list(c.support)]
    worst = math.inf
    for score in (scores + _disturbance(c), scores - _disturbance(c)):
        rival = np.abs(score[outside(c, c.support)]).max(initial=0.0)
        worst = min(worst, float((sigma * score[list(c.support)]).min() - rival))
    return positive(worst / c.x_min)


TOPK_1E = Statement(
    "TOPK-1e",
    "With an error e on the activation, the tied encoder stays sign-consistently right on x if 2||W^T e||_inf is below "
    "its margin without error.",
    _disturbed_margin,
    {
        **_OUTSIDE,
        "2||W^T e||_inf < margin": lambda c: positive(
            sign_consistent_margin(c) - 2 * float(np.abs(_disturbance(c)).max()) / c.x_min
        ),
    },
    latex=r"2\|W^{\mathsf T} e\|_\infty < \min_{i \in S}\sigma_i c_i - \max_{j \notin S}|c_j|",
    source="THEORY.md TOPK-1",
    cost="4^k n / n m",
    check="the code with e and with -e",
    needs=("unit",),
    draws=Draws(code="k", noise=True),
)


# ---- TOPK-1n


def _relu_parts(c: Case) -> tuple[Floats, Floats]:
    """1 + sum_l (G_il)_+ and sum_l (-G_il)_+ over i in S, l in S without i."""
    inner = gram_rows(c, c.support)[:, list(c.support)] - np.eye(len(c.support))
    return 1 + np.maximum(inner, 0).sum(axis=1), np.maximum(-inner, 0).sum(axis=1)


_RANGE_N = {**_OUTSIDE, "b/a < R+(S)": _within(_NONNEGATIVE)}

TOPK_1N = Statement(
    "TOPK-1n",
    "For nonnegative codes and signed TopK without ReLU, c_i > c_j for all x in [a, b]^S, i in S, j notin S, if "
    "b/a < R+(S) (a, b: the least and largest modulus of the code given).",
    lambda c: positive(_nonnegative_margin(c)),
    _RANGE_N,
    latex=r"\frac ba < R^+(S) := \min_{i \in S, j \notin S} "
    r"\frac{1 - G_{ij} + \sum_l (G_{il} - G_{jl})_+}{\sum_l (G_{jl} - G_{il})_+}",
    source="THEORY.md TOPK-1n",
    cost="k^2 n / 2^k n",
    check=_CORNERS,
    needs=("unit",),
    draws=_CODES,
    floor=0.2,
)
TOPK_1NC = Statement(
    "TOPK-1nc",
    "Conversely, if b/a >= R+(S), signed TopK fails on some x in [a, b]^S.",
    lambda c: nonnegative(-_nonnegative_margin(c)),
    {**_OUTSIDE, "b/a >= R+(S)": _beyond(_NONNEGATIVE)},
    latex=r"\frac ba \ge R^+(S) \Rightarrow \exists x \in [a,b]^S: \text{signed TopK fails}",
    source="THEORY.md TOPK-1n",
    cost="k^2 n / 2^k n",
    check=_CORNERS,
    needs=("unit",),
    draws=_CODES,
)
TOPK_1R = Statement(
    "TOPK-1r",
    "With a ReLU too (c_i > max(c_j, 0)), if b/a is also below [1 + sum_l (G_il)_+]/sum_l (-G_il)_+ for all i in S.",
    lambda c: positive(_nonnegative_margin(c, relu=True)),
    {**_RANGE_N, "b/a < ReLU threshold": _within(_relu_parts)},
    latex=r"\frac ba < \min_{i \in S} \frac{1 + \sum_l (G_{il})_+}{\sum_l (-G_{il})_+}",
    source="THEORY.md, corrections to TOPK-1n",
    cost="k^2 n / 2^k n",
    check=_CORNERS,
    needs=("unit",),
    draws=_CODES,
    floor=0.2,
)
TOPK_1R = TOPK_1R.with_mutants(
    TOPK_1R.mutant(
        "no further condition",
        "b/a < R+(S) suffices with a ReLU.",
        hypotheses=_RANGE_N,
    )
)

STATEMENTS = (TOPK_1, TOPK_1C, TOPK_1U, TOPK_1M, TOPK_1E, TOPK_1N, TOPK_1NC, TOPK_1R)
