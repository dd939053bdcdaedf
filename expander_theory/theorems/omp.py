"""Section C of THEORY.md, first half: when orthogonal matching pursuit is exact, and limits that no proof can pass."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from expander_theory.dictionary import Floats
from expander_theory.geometry import coherence_certified_k, column_overlaps
from expander_theory.masks import Mask
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import SINGULAR, rip, worst_erc
from expander_theory.theorems.slack import MET, Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

_WHOLE_GRAM = 512
"""Up to this many columns the whole Gram matrix is formed once; beyond, only the rows that are asked for."""

_TIED = 1e-9
"""Correlations this close, relative to the largest, may be taken in any order."""


# ---- one support


def gram_rows(c: Case, chosen: Sequence[int]) -> Floats:
    """The rows of G = W^T W that belong to the chosen columns, shape (len(chosen), n); any n."""
    if c.n <= _WHOLE_GRAM:
        return c.G[list(chosen)]
    import scipy.sparse

    starts = np.arange(0, c.values.size + 1, c.d)
    W = scipy.sparse.csc_array((c.values.ravel(), c.mask.rows.ravel(), starts), shape=(c.m, c.n))
    return (W[:, list(chosen)].T @ W).toarray()


def expansions(c: Case, support: Sequence[int]) -> Floats | None:
    """W_S^+ w_j for all columns j, shape (|S|, n); None where W_S is rank deficient."""
    rows = gram_rows(c, support)
    inner = rows[:, list(support)]
    spectrum = np.linalg.eigvalsh(inner)
    return None if spectrum[0] <= SINGULAR * spectrum[-1] else np.linalg.solve(inner, rows)


def outside(c: Case, support: Sequence[int]) -> list[int]:
    """The columns that are not in the support."""
    return np.setdiff1d(np.arange(c.n), list(support)).tolist()


def erc_of(c: Case, support: Sequence[int] | None = None) -> float:
    """ERC of one support (by default the code's) at any n; inf if W_S is dependent, 0 without columns outside."""
    support = c.support if support is None else support
    found = expansions(c, support)
    return math.inf if found is None else float(np.abs(found[:, outside(c, support)]).sum(axis=0).max(initial=0.0))


def largest_erc(c: Case, k: int) -> float:
    """max ERC(S) over 1 <= |S| <= k: OMP is exact on every k-sparse code, for every tie rule, iff it is below 1."""
    return max(worst_erc(c, size) for size in range(1, min(k, c.n) + 1))


def pursuit_margin(W: Floats, h: Floats, inside: Sequence[int], *, noise: float = 0.0, whole: bool = True) -> float:
    """How clearly OMP on h, stopped at ||r||_2 <= noise, chooses exactly the columns of ``inside``.

    The least of (best inside - best outside)/best over all steps and all orders that ties allow and, with noise,
    of 1 - noise/||r|| before the last step; -1 where it stops too early. Unless ``whole``, it may stop before all of
    ``inside`` are chosen. Steps whose residual is as small as its rounding error may become are not judged.
    """
    inside = [int(j) for j in inside]
    beyond = np.ones(W.shape[1], bool)
    beyond[inside] = False
    margin, seen, ahead = math.inf, set(), [frozenset[int]()]
    while ahead and margin > 0:
        chosen = ahead.pop()
        if chosen in seen or len(chosen) == len(inside):
            continue
        seen.add(chosen)
        basis = W[:, sorted(chosen)]
        fit = np.linalg.lstsq(basis, h, rcond=None)[0] if chosen else np.zeros(0)
        residual = h - basis @ fit
        size, scale = float(np.linalg.norm(residual)), float(np.linalg.norm(h) + np.abs(fit).sum())
        if size <= max(noise, 1e-13 * scale):
            margin = -1.0 if whole else margin
        if size <= max(noise, 1e-9 * scale):
            continue
        correlation = np.abs(W.T @ residual)
        left = [j for j in inside if j not in chosen]
        best, rival = float(correlation[left].max()), float(correlation[beyond].max(initial=0.0))
        if max(best, rival) == 0:
            return -1.0
        margin = min(margin, (best - rival) / max(best, rival), 1 - noise / size if noise > 0 else 1.0)
        ahead += [chosen | {j} for j in left if correlation[j] >= best * (1 - _TIED)]
    return margin


def sign_patterns(x: Floats, support: Sequence[int]) -> Iterator[Floats]:
    """The code and, on at most six columns, all codes of the same moduli, up to a common sign."""
    yield x
    if len(support) <= 6:
        for signs in itertools.product([1.0, -1.0], repeat=len(support) - 1):
            code = np.zeros_like(x)
            code[list(support)] = np.abs(x[list(support)]) * (1.0, *signs)
            yield code


def hardest_codes(c: Case, support: Sequence[int], count: int = 3) -> Iterator[Floats]:
    """Codes on the support for which the first step is closest to going wrong: W_S^T W x = sign(W_S^+ w_j).

    For the ``count`` columns j outside with the largest ||W_S^+ w_j||_1; zeros are moved to 1/1000 of the largest.
    """
    chosen, others, found = list(support), outside(c, support), expansions(c, support)
    if found is None:
        return
    inner = gram_rows(c, support)[:, chosen]
    for j in sorted(others, key=lambda j: -float(np.abs(found[:, j]).sum()))[:count]:
        x = np.linalg.solve(inner, np.where(found[:, j] < -SINGULAR, -1.0, 1.0))
        least_modulus = 1e-3 * np.abs(x).max()
        code = np.zeros(c.n)
        code[chosen] = np.copysign(np.maximum(np.abs(x), least_modulus), x)
        yield code


def _parts_of(support: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """Nonempty strict subsets; only those that lack one column where there are very many."""
    sizes = range(1, len(support)) if len(support) <= 6 else (len(support) - 1,)
    return itertools.chain.from_iterable(itertools.combinations(support, size) for size in sizes)


# ---- OMP-1


def _recovers(c: Case) -> Slack:
    codes = [*sign_patterns(c.x, c.support), *hardest_codes(c, c.support)]
    return positive(min(pursuit_margin(c.W, c.W @ x, c.support) for x in codes))


def _on_parts(inside_part: bool) -> Callable[[Case], Slack]:
    """OMP on codes of strict subsets S' of S: it chooses from S alone, or (a mutant) S' in |S'| steps."""

    def conclusion(c: Case) -> Slack:
        margin = math.inf
        for part in _parts_of(c.support):
            kept = np.zeros(c.n)
            kept[list(part)] = c.x[list(part)]
            for x in (kept, *hardest_codes(c, part, 1)):
                margin = min(
                    margin, pursuit_margin(c.W, c.W @ x, part if inside_part else c.support, whole=inside_part)
                )
        return positive(margin)

    return conclusion


def _first_step_fails(c: Case) -> Slack:
    """Where ERC(S) >= 1, the activation with W_S^T h = sign(W_S^+ w_j) ties; above 1, a code on all of S loses."""
    chosen, found = list(c.support), expansions(c, c.support)
    others = outside(c, chosen)
    if found is None or not others:
        return positive(-1)
    rows, value = gram_rows(c, chosen), erc_of(c)

    def lead(x: Floats) -> float:  # of the best column outside, relative
        inner = np.abs(rows.T @ x)
        beyond, within = inner[others].max(), inner[chosen].max()
        return float((beyond - within) / max(beyond, within))

    j = max(others, key=lambda j: float(np.abs(found[:, j]).sum()))
    x = np.linalg.solve(rows[:, chosen], np.where(found[:, j] < -SINGULAR, -1.0, 1.0))
    if value <= 1 + MET:
        return nonnegative(lead(x))
    away = np.where(np.abs(x) < 1e-3 * np.abs(x).max(), np.copysign(1e-3 * np.abs(x).max(), x), 0.0)
    while lead(x + away) < (1 - 1 / value) / 2 and away.any():
        away = away / 2  # entries are moved off 0 by as much as the lead allows
    return least(positive(lead(x + away)), nonnegative(int(np.count_nonzero(x + away)) - len(chosen)))


def full_rank(c: Case) -> Slack:
    """W_S has full rank, S the support of the code."""
    spectrum = np.linalg.eigvalsh(gram_rows(c, c.support)[:, list(c.support)])
    return positive(float(spectrum[0]), how="least eigenvalue of W_S^T W_S")


def has_outside(c: Case) -> Slack:
    """Some column is outside the support of the code."""
    return positive(c.n - len(c.support))


_CODES = Draws(code="k")
_ERC = {"ERC(S) < 1": lambda c: positive(1 - erc_of(c))}
_ORDERS = "OMP with every order that ties allow, "

OMP_1 = Statement(
    "OMP-1",
    "If ERC(S) = max_{j notin S} ||W_S^+ w_j||_1 < 1, OMP selects exactly S in |S| steps, for every code with support "
    "S and every rule for ties.",
    _recovers,
    _ERC,
    latex=r"\max_{j \notin S} \|W_S^{+} w_j\|_1 < 1 \Rightarrow \text{OMP finds } S \text{ in } |S| \text{ steps}",
    source="Tropp 2004, Greed is good",
    cost="k^3 + k^2 n / k steps per code",
    check=_ORDERS + "on the code, on all its sign patterns, and on the codes of S for which the first step is hardest",
    needs=("unit",),
    draws=_CODES,
    floor=0.2,
)
OMP_1 = OMP_1.with_mutants(
    OMP_1.mutant("equality", "ERC(S) <= 1 suffices.", hypotheses={"ERC(S) <= 1": lambda c: nonnegative(1 - erc_of(c))}),
    OMP_1.mutant(
        "no inverse",
        "max_{j notin S} ||W_S^T w_j||_1 < 1 suffices.",
        hypotheses={
            "W_S full rank": full_rank,
            "||W_S^T w_j||_1 < 1": lambda c: positive(
                1 - float(np.abs(gram_rows(c, c.support)[:, outside(c, c.support)]).sum(axis=0).max(initial=0.0))
            ),
        },
    ),
)

OMP_1S = Statement(
    "OMP-1s",
    "If ERC(S) < 1 and the support of x is a strict subset S' of S, OMP still selects columns of S only and reaches "
    "residual 0 in at most |S| steps; it need not find S' in |S'| steps.",
    _on_parts(inside_part=False),
    _ERC,
    latex=r"\mathrm{ERC}(S) < 1,\ \mathrm{supp}\, x \subset S \Rightarrow \text{OMP selects only atoms of } S",
    source="Tropp 2004; THEORY.md OMP-1",
    cost="k^3 + k^2 n / k steps per code",
    check=_ORDERS + "on the code restricted to each strict subset and on the hardest code of each",
    needs=("unit",),
    draws=Draws(max_n=6, code="k"),
    floor=0.2,
)
OMP_1S = OMP_1S.with_mutants(
    OMP_1S.mutant(
        "at once",
        "If ERC(S) < 1, OMP finds every strict subset S' of S in |S'| steps.",
        hypotheses={**_ERC, "S is not everything": has_outside},
        conclusion=_on_parts(inside_part=True),
    ),
    OMP_1S.mutant(
        "monotone",
        "ERC(S') <= ERC(S) for S' inside S.",
        hypotheses={"W_S full rank": full_rank, "S is not everything": has_outside},
        conclusion=lambda c: nonnegative(erc_of(c) - max((erc_of(c, s) for s in _parts_of(c.support)), default=0.0)),
    ),
)

OMP_1II = Statement(
    "OMP-1ii",
    "If W_S has full rank and ERC(S) >= 1, some activation in span W_S is tied at the first step with a column outside "
    "S; if ERC(S) > 1, some code with support exactly S loses its first step.",
    _first_step_fails,
    {"W_S full rank": full_rank, "ERC(S) >= 1": lambda c: nonnegative(erc_of(c) - 1)},
    latex=r"\mathrm{ERC}(S) > 1 \Rightarrow \exists x,\ \mathrm{supp}\, x = S: \text{OMP's first step is wrong}",
    source="Tropp 2004; THEORY.md OMP-1",
    cost="k^3 + k^2 n / one step",
    check="the activation and the code are built, and the first step is done",
    needs=("unit",),
    draws=_CODES,
)


# ---- OMP-2, OMP-3


def _erc_below_one(c: Case) -> Slack:
    return positive(1 - largest_erc(c, c.k), how="1 - max ERC(S) over all |S| <= k")


def _coherence_below(bound: Callable[[int], int], strict: bool = True) -> Callable[[Case], Slack]:
    """bound(k) mu < 1."""
    return lambda c: (positive if strict else nonnegative)(1 - bound(c.k) * c.mu)


def _babel_sum(c: Case) -> float:
    return c.babel(c.k) + c.babel(c.k - 1)


def support_sums(c: Case, support: Sequence[int]) -> tuple[float, float]:
    """A and Bm of OMP-3S: the largest sums of |G_il| over l in S, outside and inside of S."""
    sums = np.abs(gram_rows(c, support)).sum(axis=0)
    others = outside(c, support)
    return float(sums[others].max(initial=0.0)), float((sums[list(support)] - 1).max())


_ALL_SETS = "ERC of all sets of at most k columns: OMP is exact on all their codes iff all are below 1 (OMP-1)"
_SETS = Draws(max_n=6, max_k=4)
_SMALL_SETS = Draws(max_m=6, max_n=5, max_k=3)

OMP_2 = Statement(
    "OMP-2",
    "If mu < 1/(2k-1), ERC(S) < 1 for every |S| <= k: OMP recovers every k-sparse code.",
    _erc_below_one,
    {"mu < 1/(2k-1)": _coherence_below(lambda k: 2 * k - 1)},
    latex=r"\mu < \frac{1}{2k-1} \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="Tropp 2004, Cor. 3.6",
    cost="Gram matrix / C(n, k)",
    check=_ALL_SETS,
    needs=("unit",),
    draws=_SMALL_SETS,
    floor=0.2,
)
OMP_2 = OMP_2.with_mutants(
    OMP_2.mutant(
        "equality",
        "mu <= 1/(2k-1) suffices.",
        hypotheses={"mu <= 1/(2k-1)": _coherence_below(lambda k: 2 * k - 1, strict=False)},
    ),
    OMP_2.mutant(
        "2k-2",
        "mu < 1/(2k-2) suffices (k >= 2).",
        hypotheses={
            "k >= 2": lambda c: nonnegative(c.k - 2),
            "mu < 1/(2k-2)": _coherence_below(lambda k: 2 * k - 2),
        },
    ),
    OMP_2.mutant("k", "mu < 1/k suffices.", hypotheses={"mu < 1/k": _coherence_below(lambda k: k)}),
)

OMP_3 = Statement(
    "OMP-3",
    "If mu_1(k) + mu_1(k-1) < 1, ERC(S) < 1 for every |S| <= k: OMP recovers every k-sparse code.",
    _erc_below_one,
    {"mu_1(k) + mu_1(k-1) < 1": lambda c: positive(1 - _babel_sum(c))},
    latex=r"\mu_1(k) + \mu_1(k-1) < 1 \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="Tropp 2004, Thm 3.5",
    cost="Gram matrix, row partial sorts / C(n, k)",
    check=_ALL_SETS,
    needs=("unit",),
    draws=_SMALL_SETS,
    floor=0.2,
)
OMP_3 = OMP_3.with_mutants(
    OMP_3.mutant("no k-1", "mu_1(k) < 1 suffices.", hypotheses={"mu_1(k) < 1": lambda c: positive(1 - c.babel(c.k))}),
    OMP_3.mutant(
        "equality",
        "mu_1(k) + mu_1(k-1) <= 1 suffices.",
        hypotheses={"mu_1(k) + mu_1(k-1) <= 1": lambda c: nonnegative(1 - _babel_sum(c))},
    ),
)
OMP_3B = Statement(
    "OMP-3b",
    "If mu_1(k-1) < 1, ERC(S) <= mu_1(k)/(1 - mu_1(k-1)) for every |S| <= k.",
    lambda c: nonnegative(c.babel(c.k) / (1 - c.babel(c.k - 1)) - largest_erc(c, c.k)),
    {"mu_1(k-1) < 1": lambda c: positive(1 - c.babel(c.k - 1))},
    latex=r"\mathrm{ERC}(S) \le \frac{\mu_1(k)}{1 - \mu_1(k-1)}",
    source="Tropp 2004, Thm 3.5",
    cost="Gram matrix, row partial sorts / C(n, k)",
    check="ERC of all sets of at most k columns",
    needs=("unit",),
    draws=_SMALL_SETS,
    floor=0.2,
)
OMP_3S = Statement(
    "OMP-3S",
    "With A the largest sum_{i in S}|G_ij| over j notin S and B the largest sum_{l in S, l != i}|G_il| over i in S: if "
    "B < 1, ERC(S) <= A/(1 - B).",
    lambda c: nonnegative(support_sums(c, c.support)[0] / (1 - support_sums(c, c.support)[1]) - erc_of(c)),
    {"B < 1": lambda c: positive(1 - support_sums(c, c.support)[1])},
    latex=r"\mathrm{ERC}(S) \le \frac{\max_{j \notin S}\sum_{i \in S}|G_{ij}|}"
    r"{1 - \max_{i \in S}\sum_{l \in S \setminus i}|G_{il}|}",
    source="Tropp 2004; Neumann series",
    cost="k n inner products / k^3 + k^2 n",
    check="ERC of the support of the code",
    needs=("unit",),
    draws=_CODES,
    floor=0.2,
)


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
    draws=_SETS,
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
    _erc_below_one,
    {"C^2 [(k+1) eps_k+1 + k eps_k] < 1": lambda c: _below_one(c, [(c.k + 1, c.k + 1), (c.k, c.k)])},
    latex=r"C^2\big[(k+1)\varepsilon_{k+1} + k\varepsilon_k\big] < 1 \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="THEORY.md OMP-5 with OMP-3",
    cost="eps_{k+1} / C(n, k)",
    check=_ALL_SETS,
    needs=("unit",),
    draws=Draws(max_m=10, max_n=6, max_k=3),
)
PAPER_OMP = Statement(
    "PAPER-OMP",
    "The paper's ratio R_OMP = C^2 eps_{k+1} (2k+1) < 1: OMP recovers every k-sparse code. It is implied by OMP-5.",
    _erc_below_one,
    {"R_OMP < 1": lambda c: _below_one(c, [(2 * c.k + 1, c.k + 1)])},
    latex=r"R_{\mathrm{OMP}} = C^2 \varepsilon_{k+1}(2k+1) < 1",
    source="Mendoza-Smith 2026, as its code computes it; THEORY.md, the paper's two conditions",
    cost="eps_{k+1} / C(n, k)",
    check=_ALL_SETS + "; eps exact or bounded above, never the greedy lower bound",
    needs=("unit",),
    draws=Draws(max_m=10, max_n=6, max_k=3),
)


# ---- OMP-6


def _noise_norm(c: Case) -> float:
    return 0.0 if c.noise is None else float(np.linalg.norm(c.noise))


def _loud_enough(factor: float = 2.0, gap: bool = True) -> Callable[[Case], Slack]:
    """min|x| > factor ||e||/((1 - ERC) lambda_min), relative to min|x|."""

    def hypothesis(c: Case) -> Slack:
        M = erc_of(c)
        lam = float(np.linalg.eigvalsh(gram_rows(c, c.support)[:, list(c.support)])[0])
        if M >= 1 or lam <= SINGULAR:
            return positive(-1.0)
        return positive(1 - factor * _noise_norm(c) / ((1 - M if gap else 1.0) * lam * c.x_min))

    return hypothesis


def _loud_for_coherence(c: Case) -> Slack:
    gap = 1 - (2 * len(c.support) - 1) * c.mu
    return positive(1 - 2 * _noise_norm(c) / (gap * c.x_min) if gap > 0 else -1.0)


def _recovers_in_noise(c: Case) -> Slack:
    b, clean = _noise_norm(c), c.W @ c.x
    tried = [np.zeros(c.m) if c.noise is None else c.noise]
    if b > 0:  # towards each column outside, and away from the best one inside
        correlation = c.W.T @ clean
        best = max(c.support, key=lambda i: abs(correlation[i]))
        for j, sign in itertools.product(outside(c, c.support)[:8], (1.0, -1.0)):
            towards = sign * c.W[:, j]
            tried += [towards, towards - np.copysign(1.0, correlation[best]) * c.W[:, best]]
    sized = [e * (b / max(float(np.linalg.norm(e)), 1e-300)) for e in tried if np.linalg.norm(e) > 1e-9 or b == 0]
    return positive(min(pursuit_margin(c.W, clean + e, c.support, noise=b) for e in sized))


OMP_6 = Statement(
    "OMP-6",
    "y = W x + e with ||e||_2 <= b, M = ERC(S) < 1 and lambda the least eigenvalue of W_S^T W_S: if "
    "min|x_i| > 2b/((1-M) lambda), OMP stopped at ||r||_2 <= b selects exactly S.",
    _recovers_in_noise,
    {**_ERC, "min|x| > 2b/((1-M) lambda)": _loud_enough()},
    latex=r"\min_{i \in S}|x_i| > \frac{2b}{(1 - \mathrm{ERC}(S))\,\lambda_{\min}(G_S)} "
    r"\Rightarrow \text{OMP finds } S",
    source="Cai, Wang 2011; Donoho, Elad, Temlyakov 2006; THEORY.md OMP-6",
    cost="k^3 + k^2 n / k steps per error",
    check=_ORDERS + "with b = ||e||, for e as drawn and towards every column outside, away from the best inside",
    needs=("unit",),
    draws=Draws(max_m=6, max_n=5, code="k", noise=True, max_k=3),
    floor=0.2,
)
OMP_6 = OMP_6.with_mutants(
    OMP_6.mutant(
        "factor 1", "min|x_i| > b/((1-M) lambda) suffices.",
        hypotheses={**_ERC, "min|x| > b/((1-M) lambda)": _loud_enough(factor=1.0)},
    ),
    OMP_6.mutant(
        "no 1-M", "min|x_i| > 2b/lambda suffices.",
        hypotheses={**_ERC, "min|x| > 2b/lambda": _loud_enough(gap=False)},
    ),
)  # fmt: skip
OMP_6M = Statement(
    "OMP-6mu",
    "With mu < 1/(2k-1), min|x_i| > 2b/(1 - (2k-1) mu) suffices for OMP-6 (k = |supp x|).",
    _recovers_in_noise,
    {
        "mu < 1/(2k-1)": lambda c: positive(1 - (2 * len(c.support) - 1) * c.mu),
        "min|x| > 2b/(1 - (2k-1) mu)": _loud_for_coherence,
    },
    latex=r"\min_{i \in S}|x_i| > \frac{2b}{1 - (2k-1)\mu} \Rightarrow \text{OMP finds } S",
    source="Donoho, Elad, Temlyakov 2006; Cai, Wang 2011",
    cost="Gram matrix / k steps per error",
    check=OMP_6.check,
    needs=("unit",),
    draws=OMP_6.draws,
    floor=0.2,
)


# ---- OMP-7, OMP-7u


def scaled_rip(c: Case, size: int) -> float:
    """The least delta_size of a multiple of W: (l_max - l_min)/(l_max + l_min) of W_S^T W_S over |S| = size."""
    sets = c.sets(size)
    spectra = np.linalg.eigvalsh(c.G[sets[:, :, None], sets[:, None, :]])
    low, high = float(spectra.min()), float(spectra.max())
    return (high - low) / (high + low)


def unit_rip_bound(k: int) -> float:
    """c_k of OMP-7u: 1/sqrt k from k = 4 on, 4/(k+4) up to 4."""
    return 1 / math.sqrt(k) if k >= 4 else 4 / (k + 4)


def _rip_below(
    bound: Callable[[int], float], more: int = 1, strict: bool = True, constant: Callable[[Case, int], float] = rip
) -> Callable[[Case], Slack]:
    """delta_{k+more} < bound(k)."""
    return lambda c: (positive if strict else nonnegative)(bound(c.k) - constant(c, c.k + more))


OMP_7 = Statement(
    "OMP-7",
    "If delta_{k+1} < 1/sqrt(k+1) for W or a multiple of it, OMP recovers every k-sparse code in k steps, for columns "
    "of any norm.",
    _erc_below_one,
    {"delta_k+1 < 1/sqrt(k+1)": _rip_below(lambda k: 1 / math.sqrt(k + 1), constant=scaled_rip)},
    latex=r"\delta_{k+1} < \frac{1}{\sqrt{k+1}} \Rightarrow \text{OMP is exact}",
    source="Mo 2015; two-line proof in THEORY.md OMP-7",
    cost="C(n, k+1) eigenvalues / C(n, k)",
    check=_ALL_SETS + "; the columns as given, at the multiple of W with the least delta",
    draws=_SETS,
    floor=0.2,
)
OMP_7 = OMP_7.with_mutants(
    OMP_7.mutant(
        "k for k+1",
        "delta_{k+1} < 1/sqrt k suffices for columns of any norm.",
        hypotheses={"delta_k+1 < 1/sqrt k": _rip_below(lambda k: 1 / math.sqrt(k), constant=scaled_rip)},
    )
)
OMP_7U = Statement(
    "OMP-7u",
    "For unit columns delta_{k+1} < c_k suffices, c_k = 1/sqrt k for k >= 4 and 4/(k+4) for k <= 4.",
    _erc_below_one,
    {"delta_k+1 < c_k": _rip_below(unit_rip_bound)},
    latex=r"\delta_{k+1} < c_k,\quad c_k = k^{-1/2}\ (k \ge 4),\ \tfrac{4}{k+4}\ (k \le 4)",
    source="THEORY.md OMP-7u; sharp for k >= 4",
    cost="C(n, k+1) eigenvalues / C(n, k)",
    check=_ALL_SETS,
    needs=("unit",),
    draws=_SETS,
    floor=0.2,
)
OMP_7U = OMP_7U.with_mutants(
    OMP_7U.mutant(
        "equality",
        "delta_{k+1} <= 1/sqrt k suffices for unit columns.",
        hypotheses={"delta_k+1 <= 1/sqrt k": _rip_below(lambda k: 1 / math.sqrt(k), strict=False)},
    ),
    OMP_7U.mutant(
        "k-1",
        "delta_{k+1} < 1/sqrt(k-1) suffices for unit columns (k >= 2).",
        hypotheses={
            "k >= 2": lambda c: nonnegative(c.k - 2),
            "delta_k+1 < 1/sqrt(k-1)": _rip_below(lambda k: 1 / math.sqrt(max(k - 1, 1))),
        },
    ),
    OMP_7U.mutant("below 1", "delta_{k+1} < 1 suffices.", hypotheses={"delta_k+1 < 1": _rip_below(lambda k: 1.0)}),
    OMP_7U.mutant(
        "delta_k", "delta_k < c_k suffices.", hypotheses={"delta_k < c_k": _rip_below(unit_rip_bound, more=0)}
    ),
)
OMP_7B = Statement(
    "OMP-7b",
    "For unit columns mu_1(k) < c_k suffices (delta_{k+1} <= mu_1(k)): a second Babel test.",
    _erc_below_one,
    {"mu_1(k) < c_k": lambda c: positive(unit_rip_bound(c.k) - c.babel(c.k))},
    latex=r"\mu_1(k) < c_k \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="THEORY.md OMP-7u; Gershgorin",
    cost="Gram matrix, row partial sorts / C(n, k)",
    check=_ALL_SETS,
    needs=("unit",),
    draws=_SETS,
    floor=0.2,
)


# ---- NEG-1, NEG-2, NEG-3


def find_star(mask: Mask, doubled: bool = False, budget: int = 20_000) -> tuple[int, ...] | None:
    """A column j and one partner through each of its rows, pairwise disjoint and meeting N(j) in that row only.

    With ``doubled``, two partners go through the first of the rows, and share nothing else.

    Returns:
        (j, partners...), or None where there is none, or none was found within ``budget`` looks at a column.
    """
    start, columns = mask.row_lists
    rows_of = [frozenset(rows) for rows in mask.rows.tolist()]
    left = budget

    def extend(chosen: tuple[int, ...], rows: list[int], used: frozenset[int]) -> tuple[int, ...] | None:
        nonlocal left
        if not rows:
            return chosen
        for l in columns[start[rows[0]] : start[rows[0] + 1]].tolist():
            left -= 1
            if left < 0:
                return None
            met, here = rows_of[l], {rows[0]}
            if l not in chosen and met & rows_of[chosen[0]] == here and not (met & used) - here:
                found = extend((*chosen, l), rows[1:], used | met)
                if found:
                    return found
        return None

    for j, rows in enumerate(mask.rows.tolist()):
        orders = [[row, row, *(r for r in rows if r != row)] for row in rows] if doubled else [rows]
        for order in orders:
            found = extend((j,), order, frozenset())
            if found:
                return found
    return None


def _star(c: Case, doubled: bool = False) -> tuple[int, ...] | None:
    known = c.__dict__.setdefault("_stars", {})
    if doubled not in known:
        known[doubled] = find_star(c.mask, doubled)
    return known[doubled]


def _has_star(doubled: bool) -> Callable[[Case], Slack]:
    return lambda c: positive(0 if _star(c, doubled) is None else 1, how="a star searched for, by its rows")


def _flat(c: Case) -> Slack:
    return nonnegative(1 - c.C_squared)


def _star_defeats(c: Case) -> Slack:
    j, *partners = _star(c) or (0,)
    inner = gram_rows(c, partners)[:, j]
    parts = [nonnegative(erc_of(c, partners) - float(np.abs(inner).sum()))]
    if c.C_squared == 1:  # W_S is orthonormal: the code sign(W_S^T w_j) ties with column j
        x = np.zeros(c.n)
        x[partners] = np.sign(inner)
        parts += [nonnegative(erc_of(c, partners) - 1), nonnegative(-pursuit_margin(c.W, c.W @ x, partners))]
    return least(*parts)


def _doubled_star_defeats(c: Case) -> Slack:
    j, *partners = _star(c, doubled=True) or (0,)
    rows, d = gram_rows(c, partners), c.d
    x = np.zeros(c.n)
    x[partners] = np.linalg.solve(rows[:, partners], np.sign(rows[:, j]))
    parts = [nonnegative(erc_of(c, partners) - (1 + (d - 1) / (d * (d + 1))))]
    return least(*parts, positive(-pursuit_margin(c.W, c.W @ x, partners)))


NEG_1 = Statement(
    "NEG-1",
    "If column j has d partners l_i, one through each of its rows i, pairwise disjoint and meeting N(j) in i only, "
    "S = {l_i} has ERC(S) >= sum_i |w_ij||w_il_i|, which is 1 for flat weights: a tie, and uniform recovery at k = d "
    "is impossible whatever m.",
    _star_defeats,
    {"a star": _has_star(False)},
    latex=r"\mathrm{ERC}(S) \ge \sum_i |w_{ij}||w_{i l_i}| \quad (= 1 \text{ if flat})",
    source="THEORY.md NEG-1",
    cost="greedy / k^3 + k^2 n",
    check="the star is searched for; for flat weights OMP ties on the code sign(W_S^T w_j)",
    needs=("unit",),
    draws=Draws(max_n=8),
)
NEG_1D = Statement(
    "NEG-1d",
    "A star whose partner through one row is doubled (k = d + 1, d >= 2, flat weights) has "
    "ERC >= 1 + (d-1)/(d(d+1)) > 1: OMP fails strictly.",
    _doubled_star_defeats,
    {"d >= 2": lambda c: nonnegative(c.d - 2), "flat": _flat, "a doubled star": _has_star(True)},
    latex=r"\mathrm{ERC}(S) \ge 1 + \frac{d-1}{d(d+1)}",
    source="THEORY.md NEG-1",
    cost="greedy / k^3 + k^2 n",
    check="the star is searched for; OMP loses its first step on G_S^{-1} sign(W_S^T w_j)",
    needs=("unit",),
    draws=Draws(values="flat", max_n=8),
)


def _row_energy(c: Case) -> Slack:
    """Every row i: its k largest columns have lambda_max >= the sum of their k largest w_il^2."""
    start, columns = c.mask.row_lists
    entries = (c.values**2).ravel()[np.argsort(c.mask.rows.ravel(), kind="stable")]
    worst, most = math.inf, 0.0
    for i in range(c.m):
        span = slice(start[i], start[i + 1])
        order = np.argsort(-entries[span], kind="stable")[: c.k]
        if order.size:
            energy, chosen = float(entries[span][order].sum()), [int(l) for l in np.asarray(columns[span])[order]]
            top = float(np.linalg.eigvalsh(gram_rows(c, chosen)[:, chosen])[-1])
            worst, most = min(worst, top - energy), max(most, energy)
    parts = [nonnegative(worst)]
    if c.n <= 16:
        parts.append(nonnegative(rip(c, c.k) - (most - 1)))
        if c.C_squared == 1:
            parts.append(nonnegative(most - min(c.k, int(c.mask.row_degrees.max())) / c.d))
    return least(*parts)


NEG_2 = Statement(
    "NEG-2",
    "For some |S| = k, lambda_max(W_S^T W_S) is at least the sum of the k largest w_il^2 of a row i; for flat weights "
    "and k <= D_i this is k/d, so delta_k >= k/d - 1: RIP-based guarantees end at k = O(d).",
    _row_energy,
    latex=r"\max_{|S|=k}\lambda_{\max}(G_S) \ge \max_i \sum_{l \in \mathrm{top}_k} w_{il}^2,"
    r"\qquad \delta_k \ge k/d - 1",
    source="THEORY.md NEG-2; cf. Chandar 2008, Nelson and Nguyen 2013",
    cost="none / one k x k eigenvalue per row",
    check="the k heaviest columns of each row, and delta_k over all k-sets of small dictionaries",
    needs=("unit",),
    draws=_SETS,
)


def _odd_overlap(c: Case) -> Slack:
    pairs = column_overlaps(c.mask).sum(axis=0)
    return positive(int(pairs[1::2].sum()) // 2, how="pairs of columns with odd overlap")


def _coherent(c: Case) -> Slack:
    certified = min(c.d, coherence_certified_k(c.mu))
    return least(nonnegative(c.mu - 1 / c.d), positive(c.d - (2 * certified - 1)))


NEG_3 = Statement(
    "NEG-3",
    "For flat weights and a pair of columns with odd overlap, mu >= 1/d: coherence certifies no k with 2k - 1 >= d.",
    _coherent,
    {"flat": _flat, "an odd overlap": _odd_overlap},
    latex=r"\mu \ge 1/d \Rightarrow 2k - 1 < d \text{ for every } k \text{ that coherence certifies}",
    source="THEORY.md NEG-3; the sum of an odd number of signs is not 0",
    cost="B^T B / Gram matrix",
    check="coherence, and the largest k it certifies",
    needs=("unit",),
    draws=Draws(values="flat"),
    floor=0.2,
)
NEG_3 = NEG_3.with_mutants(
    NEG_3.mutant(
        "any overlap",
        "For flat weights and a pair with overlap >= 1, mu >= 1/d.",
        hypotheses={"flat": _flat, "an overlap": lambda c: positive(c.overlap)},
    )
)

STATEMENTS = (
    OMP_1, OMP_1S, OMP_1II, OMP_2, OMP_3, OMP_3B, OMP_3S, OMP_4, OMP_5, OMP_5E, PAPER_OMP,
    OMP_6, OMP_6M, OMP_7, OMP_7U, OMP_7B, NEG_1, NEG_1D, NEG_2, NEG_3,
)  # fmt: skip
