"""Section C of THEORY.md, second half: what one-step encoders (tied, affine) with TopK can and cannot do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from expander_theory.dictionary import Floats
from expander_theory.errors import require, require_int
from expander_theory.theorems.case import Case
from expander_theory.theorems.omp import erc_of, gram_rows, has_outside, outside
from expander_theory.theorems.slack import EQUAL, Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement
from expander_theory.theorems.strategies import with_parts

_VERTICES = 2_000_000
"""Most entries of W^T W x for all x at the corners of a range together; beyond, the worst corner alone is tried."""


# ---- thresholds of the dynamic range


def range_threshold(G: ArrayLike, support: Iterable[int]) -> float:
    """R*(S): the tied encoder is sign-consistently right on all x in +-[a, b]^S iff b/a < R*(S) (THEORY.md TOPK-1).

    min over i in S, j notin S, tau = +-1 of (1 - tau G_ij)/sum_{l in S, l != i} |G_il - tau G_jl|, with 0/0 = 0.

    Args:
        G: Gram matrix of unit columns, shape (n, n).
        support: distinct columns, at least one and not all.

    Returns:
        the threshold; infinity where the range does not matter.

    Raises:
        InvalidArgument: G is no Gram matrix of unit columns, or the support is not as above.
    """
    gram, chosen = _checked(G, support)
    return float(_ratio(*_signed_parts(gram[chosen], chosen)).min())


def nonnegative_range_threshold(G: ArrayLike, support: Iterable[int]) -> float:
    """R+(S): signed TopK of W^T W x is right on all x in [a, b]^S iff b/a < R+(S) (THEORY.md TOPK-1n).

    min over i in S, j notin S of [1 - G_ij + sum_l (G_il - G_jl)_+]/sum_l (G_jl - G_il)_+, l in S without i. Arguments,
    result and errors as for :func:`range_threshold`.
    """
    gram, chosen = _checked(G, support)
    return float(_ratio(*_nonnegative_parts(gram[chosen], chosen)).min())


def uniform_range_threshold(G: ArrayLike, k: int) -> float:
    """R*_k: the least R*(S) over all |S| = k, exactly; O(n^3) time and O(n^2) memory (THEORY.md TOPK-1).

    Args:
        G: Gram matrix of unit columns, shape (n, n).
        k: 1..n-1.

    Raises:
        InvalidArgument: G is no Gram matrix of unit columns, or k is out of range.
    """
    gram = _checked(G, [0])[0]
    n, k = gram.shape[0], require_int("k", k)
    require(1 <= k < n, "k", k, f"must be between 1 and n - 1 = {n - 1}")
    best = math.inf
    for i, tau in itertools.product(range(n), (1.0, -1.0)):
        terms = np.abs(gram[i] - tau * gram)  # [j, l]
        terms[:, i] = 0
        np.fill_diagonal(terms, 0)
        largest = np.partition(terms, n - k, axis=1)[:, n - k + 1 :]  # the k - 1 largest of each row
        sums = largest.sum(axis=1)
        best = min(best, float(np.delete(_ratio(1 - tau * gram[i], sums), i).min()))
    return best


def _checked(G: ArrayLike, support: Iterable[int]) -> tuple[Floats, list[int]]:
    gram = np.asarray(G, dtype=np.float64)
    square = gram.ndim == 2 and gram.shape[0] == gram.shape[1] > 1
    require(square, "G", f"array of shape {gram.shape}", "must have shape (n, n), n >= 2")
    unit = bool(np.abs(np.diag(gram) - 1).max() <= 1e-4 and np.abs(gram - gram.T).max() <= 1e-4)
    require(unit, "G", "array", "must be symmetric with diagonal 1: the Gram matrix of unit columns")
    chosen = [require_int("support", j) for j in support]
    n = gram.shape[0]
    valid = 1 <= len(set(chosen)) == len(chosen) < n and all(0 <= j < n for j in chosen)
    require(valid, "support", chosen, f"must be 1 to {n - 1} distinct columns of 0..{n - 1}")
    return gram, chosen


def _ratio(above: Floats, below: Floats) -> Floats:
    """above/below for numbers >= 0, with 0/0 = 0 and positive/0 = infinity."""
    out = np.full(above.shape, np.inf)
    np.divide(above, below, out=out, where=below > EQUAL)
    out[above <= EQUAL] = 0
    return out


def _signed_parts(rows: Floats, chosen: Sequence[int]) -> tuple[Floats, Floats]:
    """Above and below of R*(S), from the rows of G that belong to S: (|S|, columns outside, tau = 1 and -1)."""
    inner, cross = rows[:, list(chosen)], np.delete(rows, list(chosen), axis=1)
    tau = np.array([1.0, -1.0])
    below = np.array(
        [
            np.abs(np.delete(inner[p][:, None, None] - tau * cross[..., None], p, axis=0)).sum(axis=0)
            for p in range(len(rows))
        ]
    )
    return 1 - tau * cross[..., None], below


def _nonnegative_parts(rows: Floats, chosen: Sequence[int]) -> tuple[Floats, Floats]:
    """The same for R+(S): (|S|, columns outside)."""
    inner, cross = rows[:, list(chosen)], np.delete(rows, list(chosen), axis=1)
    leads = [np.delete(inner[p][:, None] - cross, p, axis=0) for p in range(len(rows))]  # G_il - G_jl as [l, j]
    above = 1 - cross + np.array([np.maximum(lead, 0).sum(axis=0) for lead in leads])
    return above, np.array([np.maximum(-lead, 0).sum(axis=0) for lead in leads])


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
    ratios = _ratio(*(_signed_parts if signed else _nonnegative_parts)(rows, chosen))
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
    """The same for |.|-TopK, which does not look at signs: min_S |c_i| - max_{S^c} |c_j|."""
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
        return least(positive(float(_ratio(above, below).min(initial=math.inf)) - _range(c)), positive(margin))

    return hypothesis


def _beyond(parts: Parts) -> Callable[[Case], Slack]:
    """b/a >= min above/below."""
    return lambda c: nonnegative(_range(c) - float(_ratio(*parts(c)).min(initial=math.inf)))


_SIGNED, _NONNEGATIVE = _of_code(_signed_parts), _of_code(_nonnegative_parts)
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


def _babel_sum(c: Case, k: int) -> float:
    return c.babel(k) + c.babel(k - 1)


def _equal_moduli_margin(c: Case) -> Slack:
    return positive(plain_margin(with_parts(c, code=np.sign(c.x))))


TOPK_1 = TOPK_1.with_mutants(
    _any_range(lambda c: positive(1 - erc_of(c)), "ERC(S) < 1 suffices for TopK at any range.", "ERC"),
    _any_range(
        lambda c: positive(1 - _babel_sum(c, len(c.support))),
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
    return nonnegative(_babel_sum(c, c.k) - 1 / threshold if threshold > 0 else -1.0)


TOPK_1U = Statement(
    "TOPK-1u",
    "If mu_1(k) + mu_1(k-1) < 1, R*_k (the least R*(S) over |S| = k) is at least 1/(mu_1(k) + mu_1(k-1)): the range "
    "that the tied encoder bears on every support.",
    _uniform_babel,
    {
        "k < n": lambda c: positive(c.n - c.k),
        "mu_1(k) + mu_1(k-1) < 1": lambda c: positive(1 - _babel_sum(c, c.k)),
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


# ---- TOPK-2


def _two_sparse_failure(c: Case) -> Slack:
    """The code M e_i + s e_l of the proof, |G_ij| = mu: max outside - min inside of |W^T W x|, relative to M."""
    moduli = np.abs(c.G - np.diag(np.diag(c.G)))
    i, j = map(int, np.unravel_index(int(np.argmax(moduli)), moduli.shape))
    l = next(p for p in range(c.n) if p not in (i, j))
    M = 1.001 * (1 + 1 / moduli[i, j])
    x = np.zeros(c.n)
    x[i], x[l] = M, -1.0 if c.G[i, l] >= 0 else 1.0
    scores = np.abs(c.W.T @ (c.W @ x))
    return nonnegative(float(np.delete(scores, [i, l]).max() - scores[[i, l]].min()) / M)


TOPK_2A = Statement(
    "TOPK-2a",
    "If mu > 0 and n >= 3, the tied encoder with |.|-TopK_2 fails on some 2-sparse signed code, of a range just above "
    "1 + 1/mu (mu = 1: a tie).",
    _two_sparse_failure,
    {"n >= 3": lambda c: nonnegative(c.n - 3), "mu > 0": lambda c: positive(c.mu)},
    latex=r"\mu > 0,\ n \ge 3 \Rightarrow \exists x,\ \|x\|_0 = 2: \text{tied } |\cdot|\text{-TopK}_2 \text{ fails}",
    source="THEORY.md TOPK-2 and corrections",
    cost="Gram matrix / one code",
    check="the code of the proof is built and encoded",
    needs=("unit",),
    draws=Draws(),
)


@dataclass(frozen=True, eq=False)
class Encoder:
    """A dictionary W (m, n) and an affine one-step encoder h -> A h + c, A (n, m), c (n,)."""

    W: Floats
    A: Floats
    c: Floats

    def __str__(self) -> str:
        parts = (f"{name} = {np.array2string(value, precision=4)}" for name, value in vars(self).items())
        return f"m = {self.W.shape[0]}, n = {self.W.shape[1]}\n" + "\n".join(parts)


@st.composite
def encoders(draw: Any) -> Encoder:
    """Dictionaries as orthogonal complements of small integer vectors, or of small integers; encoders that fit them.

    What a one-step encoder sees is A W; its rank is what TOPK-2 is about, so the kernel of W is drawn. Encoders: W^T,
    and (D + 1 g^T) W^+ for a diagonal D and a vector g: as near as A can come to the shape that would be exact.
    """

    def integers(count: int, low: int, high: int) -> Floats:
        return np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)), float)

    n = draw(st.integers(2, 5))
    q = draw(st.integers(1, n - 1))
    if draw(st.booleans()):
        kernel = np.vstack([np.ones(n), integers((n - 1) * n, -2, 2).reshape(n - 1, n)])[:q]
        _, sizes, basis = np.linalg.svd(kernel)
        W = basis[int((sizes > 1e-9).sum()) :]
    else:
        W = integers((n - 1) * n, -2, 2).reshape(n - 1, n)[: n - q]
    c = np.zeros(n) if draw(st.booleans()) else integers(5, -1, 1)[:n]
    if draw(st.booleans()):
        return Encoder(W, W.T, c)
    target = np.diag(integers(5, 1, 3)[:n]) + integers(5, -2, 2)[:n]
    return Encoder(W, target @ np.linalg.pinv(W), c)


def _affine_map(e: Encoder) -> tuple[Floats, Floats]:
    """A W and c, each with largest modulus 1 (scales of the code and of its offset do not matter)."""
    M = e.A @ e.W
    return M / max(np.abs(M).max(), 1e-12), e.c / max(np.abs(e.c).max(), 1e-12)


def _rivals(n: int) -> Iterable[tuple[int, int, int]]:
    """Ordered pairs i, l and a column p outside."""
    return itertools.permutations(range(n), 3)


def one_step_margin(e: Encoder) -> float:
    """Whether signed TopK_2 of A h + c is exact on every s e_i + t e_l, s, t > 0: positive if so, else <= 0.

    c_i - c_p = alpha s + beta t + gamma is positive for all s, t > 0 iff none of the three is negative and one is not
    zero; the least of them is what the margin is about.
    """
    M, c = _affine_map(e)
    worst = math.inf
    for i, l, p in _rivals(len(c)):
        parts = (M[i, i] - M[p, i], M[i, l] - M[p, l], c[i] - c[p])
        worst = min(worst, min(parts) if min(parts) < -1e-9 else max(*parts, 0.0) if max(parts) > 1e-9 else 0.0)
    return worst


def one_step_modulus_exact(e: Encoder) -> bool:
    """Whether |.|-TopK_2 of A h + c is exact on every s e_i + t e_l, s, t != 0.

    |f| > |g| iff (f - g)(f + g) > 0; an affine function of (s, t) keeps a sign on a quadrant iff its terms agree there.
    """
    M, c = _affine_map(e)
    for i, l, p in _rivals(len(c)):
        f, g = np.array([M[i, i], M[i, l], c[i]]), np.array([M[p, i], M[p, l], c[p]])
        for quadrant in itertools.product((1.0, -1.0), repeat=2):
            turn = np.array([*quadrant, 1.0])
            if _sign_of(turn * (f - g)) * _sign_of(turn * (f + g)) != 1:
                return False
    return True


def _sign_of(terms: Floats) -> int:
    low, high = terms.min(), terms.max()
    return 1 if low >= -1e-9 and high > 1e-9 else -1 if high <= 1e-9 and low < -1e-9 else 0


def _rows_at_most(less: int) -> dict[str, Callable[[Encoder], Slack]]:
    return {f"m <= n - {less}": lambda e: nonnegative(e.W.shape[1] - less - e.W.shape[0])}


_COMPETITOR = {"n >= 3": lambda e: nonnegative(e.W.shape[1] - 3)}

TOPK_2B = Statement(
    "TOPK-2b",
    "If m <= n - 2, for every affine one-step encoder A h + c, signed TopK_2 fails (or ties) on some nonnegative "
    "2-sparse code.",
    lambda e: nonnegative(-one_step_margin(e)),
    {**_COMPETITOR, **_rows_at_most(2)},
    latex=r"m \le n-2 \Rightarrow \forall A, c\ \exists x \ge 0,\ \|x\|_0 = 2: "
    r"\mathrm{TopK}_2(AWx + c) \ne \mathrm{supp}\,x",
    source="THEORY.md TOPK-2; context: O'Neill, Gumran, Klindt 2024",
    cost="none / n^3",
    check="all 2-sparse codes, by the three coefficients of each comparison",
    instances=encoders,
)
TOPK_2B = TOPK_2B.with_mutants(
    TOPK_2B.mutant("n-1", "m <= n - 1 is enough.", hypotheses={**_COMPETITOR, **_rows_at_most(1)})
)
TOPK_2C = Statement(
    "TOPK-2c",
    "If m <= n - 1 and n >= 3, for every affine one-step encoder, |.|-TopK_2 fails (or ties) on some signed 2-sparse "
    "code.",
    lambda e: nonnegative(-1 if one_step_modulus_exact(e) else 0),
    {**_COMPETITOR, **_rows_at_most(1)},
    latex=r"m < n,\ n \ge 3 \Rightarrow \forall A, c\ \exists x,\ \|x\|_0 = 2: |\cdot|\text{-TopK}_2 \text{ fails}",
    source="THEORY.md TOPK-2 and corrections",
    cost="none / n^3",
    check="all 2-sparse codes, quadrant by quadrant",
    instances=encoders,
)
TOPK_2C = TOPK_2C.with_mutants(
    TOPK_2C.mutant(
        "two columns",
        "The same for n >= 2.",
        hypotheses={"n >= 2": lambda e: nonnegative(e.W.shape[1] - 2), **_rows_at_most(1)},
    )
)

STATEMENTS = (
    TOPK_1, TOPK_1C, TOPK_1U, TOPK_1M, TOPK_1E, TOPK_1N, TOPK_1NC, TOPK_1R, TOPK_2A, TOPK_2B, TOPK_2C,
)  # fmt: skip
