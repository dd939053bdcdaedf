"""Section C of THEORY.md: when orthogonal matching pursuit is exact, by exact recovery coefficients and coherence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from expander_theory.dictionaries import Floats, consecutive_sums
from expander_theory.theorems._statements.pursuit.margins import (
    erc_of,
    expansions,
    full_rank,
    gram_rows,
    hardest_codes,
    has_outside,
    largest_erc,
    largest_erc_below_one,
    outside,
    pursuit_margin,
    sign_patterns,
)
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import SINGULAR, worst_erc
from expander_theory.theorems.slack import MET, Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

# ---- OMP-1


def _parts_of(support: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """Nonempty strict subsets; only those that lack one column where there are very many."""
    sizes = range(1, len(support)) if len(support) <= 6 else (len(support) - 1,)
    return itertools.chain.from_iterable(itertools.combinations(support, size) for size in sizes)


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


_CODES = Draws(code="k")
SETS = Draws(max_n=6, max_k=4)
ERC = {"ERC(S) < 1": lambda c: positive(1 - erc_of(c))}
ORDERS = "OMP with every order that ties allow, "

OMP_1 = Statement(
    "OMP-1",
    "If ERC(S) = max_{j notin S} ||W_S^+ w_j||_1 < 1, OMP selects exactly S in |S| steps, for every code with support "
    "S and every rule for ties.",
    _recovers,
    ERC,
    latex=r"\max_{j \notin S} \|W_S^{+} w_j\|_1 < 1 \Rightarrow \text{OMP finds } S \text{ in } |S| \text{ steps}",
    source="Tropp 2004, Greed is good",
    cost="k^3 + k^2 n / k steps per code",
    check=ORDERS + "on the code, on all its sign patterns, and on the codes of S for which the first step is hardest",
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
    ERC,
    latex=r"\mathrm{ERC}(S) < 1,\ \mathrm{supp}\, x \subset S \Rightarrow \text{OMP selects only atoms of } S",
    source="Tropp 2004; THEORY.md OMP-1",
    cost="k^3 + k^2 n / k steps per code",
    check=ORDERS + "on the code restricted to each strict subset and on the hardest code of each",
    needs=("unit",),
    draws=Draws(max_n=6, code="k"),
    floor=0.2,
)
OMP_1S = OMP_1S.with_mutants(
    OMP_1S.mutant(
        "at once",
        "If ERC(S) < 1, OMP finds every strict subset S' of S in |S'| steps.",
        hypotheses={**ERC, "S is not everything": has_outside},
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


# ---- OMP-1m


def _smaller(c: Case) -> float:
    """max ERC(S) over |S| < k, every size enumerated."""
    return max((worst_erc(c, size) for size in range(1, c.k)), default=0.0)


_AT_K = {"ERC(S) < 1 for all |S| = k": lambda c: positive(1 - worst_erc(c, c.k))}
OMP_1M = Statement(
    "OMP-1m",
    "If n > k and ERC(S) < 1 for every |S| = k, then for every |S| <= k, and no smaller size has a larger one: a "
    "search for the largest ERC below 1 may skip smaller sizes.",
    lambda c: least(positive(1 - _smaller(c)), nonnegative(worst_erc(c, c.k) - _smaller(c))),
    {"n > k": lambda c: positive(c.n - c.k), **_AT_K},
    latex=r"n > k,\ \max_{|S| = k} \mathrm{ERC}(S) < 1 \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="from Tropp 2004; THEORY.md OMP-1m",
    cost="C(n, k) / C(n, 1) + ... + C(n, k)",
    check="ERC of all sets of every size up to k",
    needs=("unit",),
    draws=SETS,
    floor=0.2,
)
OMP_1M = OMP_1M.with_mutants(
    OMP_1M.mutant(
        "n=k",
        "The same for n >= k.",
        hypotheses=_AT_K,
        conclusion=lambda c: positive(1 - _smaller(c)),
    ),
    OMP_1M.mutant(
        "one set",
        "If ERC(S) < 1 for one S, then for its subsets.",
        hypotheses={"S is not everything": has_outside, **ERC},
        conclusion=lambda c: positive(1 - max((erc_of(c, s) for s in _parts_of(c.support)), default=0.0)),
        draws=Draws(max_n=6, code="k"),
    ),
    OMP_1M.mutant(
        "larger sets",
        "If ERC(S) < 1 for every |S| = k, then for every |S| = k + 1.",
        hypotheses={"n > k + 1": lambda c: positive(c.n - c.k - 1), **_AT_K},
        conclusion=lambda c: positive(1 - worst_erc(c, c.k + 1)),
    ),
    OMP_1M.mutant(
        "values",
        "max ERC over |S| = t grows with t up to k < n, below 1 or not (k > 2: up to 2 it does).",
        hypotheses={"n > k": lambda c: positive(c.n - c.k), "k > 2": lambda c: positive(c.k - 2)},
        conclusion=lambda c: nonnegative(
            min((min(worst_erc(c, c.k), 1e9) - min(worst_erc(c, t), 1e9) for t in range(1, c.k)), default=0.0)
        ),
        draws=Draws(max_m=5, max_n=5, max_k=3),
    ),
)


# ---- OMP-2, OMP-3


def erc_below_one(c: Case) -> Slack:
    return positive(1 - largest_erc_below_one(c, c.k), how="1 - max ERC(S) over all |S| <= k, where that is below 1")


def _coherence_below(bound: Callable[[int], int], strict: bool = True) -> Callable[[Case], Slack]:
    """bound(k) mu < 1."""
    return lambda c: (positive if strict else nonnegative)(1 - bound(c.k) * c.mu)


def support_sums(c: Case, support: Sequence[int]) -> tuple[float, float]:
    """A and Bm of OMP-3S: the largest sums of |G_il| over l in S, outside and inside of S."""
    sums = np.abs(gram_rows(c, support)).sum(axis=0)
    others = outside(c, support)
    return float(sums[others].max(initial=0.0)), float((sums[list(support)] - 1).max())


ALL_SETS = "ERC of all sets of at most k columns: OMP is exact on all their codes iff all are below 1 (OMP-1)"
_SMALL_SETS = Draws(max_m=6, max_n=5, max_k=3)

OMP_2 = Statement(
    "OMP-2",
    "If mu < 1/(2k-1), ERC(S) < 1 for every |S| <= k: OMP recovers every k-sparse code.",
    erc_below_one,
    {"mu < 1/(2k-1)": _coherence_below(lambda k: 2 * k - 1)},
    latex=r"\mu < \frac{1}{2k-1} \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="Tropp 2004, Cor. 3.6",
    cost="Gram matrix / C(n, k)",
    check=ALL_SETS,
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
    erc_below_one,
    {"mu_1(k) + mu_1(k-1) < 1": lambda c: positive(1 - consecutive_sums(c.babel, c.k))},
    latex=r"\mu_1(k) + \mu_1(k-1) < 1 \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="Tropp 2004, Thm 3.5",
    cost="Gram matrix, row partial sorts / C(n, k)",
    check=ALL_SETS,
    needs=("unit",),
    draws=_SMALL_SETS,
    floor=0.2,
)
OMP_3 = OMP_3.with_mutants(
    OMP_3.mutant("no k-1", "mu_1(k) < 1 suffices.", hypotheses={"mu_1(k) < 1": lambda c: positive(1 - c.babel(c.k))}),
    OMP_3.mutant(
        "equality",
        "mu_1(k) + mu_1(k-1) <= 1 suffices.",
        hypotheses={"mu_1(k) + mu_1(k-1) <= 1": lambda c: nonnegative(1 - consecutive_sums(c.babel, c.k))},
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

STATEMENTS = (OMP_1, OMP_1S, OMP_1II, OMP_1M, OMP_2, OMP_3, OMP_3B, OMP_3S)
