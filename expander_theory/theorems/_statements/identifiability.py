"""Section B of THEORY.md, first half: when k-sparse codes are unique."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from expander_theory.theorems.case import Case, Interval
from expander_theory.theorems.quantities import (
    case_rank,
    kernel_vector,
    largest_matching,
    least_singular_value,
    rank,
    spark,
    subsets_of,
)
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

_HALF = Fraction(1, 2)
_GENERIC = 2**31 - 1


def below(threshold: Fraction, value: Interval, factor: Fraction = Fraction(1), strict: bool = True) -> Slack:
    """The condition factor * value < threshold for a value known to lie in an interval."""
    make = positive if strict else nonnegative
    return make(threshold - factor * value.high, high=threshold - factor * value.low, how=value.how)


def _independent(size: Callable[[Case], int]):
    def conclusion(c: Case) -> Slack:
        return positive(least_singular_value(c, size(c)), how="least singular value of unit columns; 0 by exact rank")

    return conclusion


_TWO_K = _independent(lambda c: 2 * c.k)


# ---- IDN-0


def _uniqueness_is_spark(c: Case) -> Slack:
    """Two k-sparse codes of one activation from a dependent 2k-set; none where every 2k-set is independent."""
    fewest = spark(c)
    if fewest > 2 * c.k:  # two k-sparse codes of one activation differ by a kernel vector on some 2k columns
        return nonnegative(min(case_rank(c, chosen) - len(chosen) for chosen in c.sets(2 * c.k)))
    chosen = next(s for s in c.sets(fewest) if case_rank(c, s) < fewest)
    v = kernel_vector(c, chosen)
    if v is None:
        return nonnegative(-1)
    support = np.nonzero(v)[0]
    x, z = np.zeros(c.n), np.zeros(c.n)
    x[support[: c.k]] = v[support[: c.k]]
    z[support[c.k :]] = -v[support[c.k :]]
    same = np.abs(c.W @ x - c.W @ z).max() <= 1e-9 * max(1.0, np.abs(c.W).max()) * np.abs(v).max()
    return nonnegative(0 if same and len(support[c.k :]) <= c.k and (x != z).any() else -1)


IDN_0 = Statement(
    "IDN-0",
    "Every k-sparse code is the only k-sparse code of its activation iff spark(W) > 2k.",
    _uniqueness_is_spark,
    latex=r"\forall x, z\ k\text{-sparse}: Wx = Wz \Rightarrow x = z \iff \mathrm{spark}(W) > 2k",
    source="Donoho, Elad 2003",
    cost="none / C(n, 2k) ranks",
    check="exact ranks; below it two codes of one activation are built from a kernel vector",
    draws=Draws(max_n=6, max_k=3),
)


# ---- IDN-1

IDN_1 = Statement(
    "IDN-1",
    "If eps_{2k} < 1/2 and no entry on the mask is zero, every 2k columns are independent: every k-sparse code is the "
    "only one of its activation. Flatness is not needed.",
    _TWO_K,
    {"eps_2k < 1/2": lambda c: below(_HALF, c.eps(2 * c.k))},
    latex=r"\varepsilon_{2k} < \tfrac12 \Rightarrow \mathrm{spark}(W) > 2k",
    source="THEORY.md IDN-1 (unique neighbours, triangular argument)",
    cost="eps_{2k} / C(n, 2k) ranks",
    check="exact ranks of all 2k-sets",
    needs=("full",),
    draws=Draws(max_k=3),
    floor=0.2,
)
IDN_1 = IDN_1.with_mutants(
    IDN_1.mutant(
        "equality", "eps_{2k} <= 1/2 suffices.",
        hypotheses={"eps_2k <= 1/2": lambda c: below(_HALF, c.eps(2 * c.k), strict=False)},
    ),
    IDN_1.mutant("eps_k", "eps_k < 1/2 suffices.", hypotheses={"eps_k < 1/2": lambda c: below(_HALF, c.eps(c.k))}),
    IDN_1.mutant(
        "eps_2k-1", "eps_{2k-1} < 1/2 suffices.",
        hypotheses={"eps_2k-1 < 1/2": lambda c: below(_HALF, c.eps(2 * c.k - 1))},
    ),
    IDN_1.mutant(
        "exact size", "Sets of exactly 2k columns suffice: eps^=_{2k} < 1/2.",
        hypotheses={"exact eps < 1/2": lambda c: positive(_HALF - c.subsets.eps_at(min(2 * c.k, c.n)))},
    ),
)  # fmt: skip


def _stopping_sets_decide(c: Case) -> Slack:
    """Both directions of IDN-1(ii) for s = k columns."""
    if c.subsets.stopping_distance > c.k:
        return positive(least_singular_value(c, c.k))
    sizes = np.where((c.subsets.unique == 0) & (c.subsets.size > 0), c.subsets.size, c.n + 1)
    chosen = [j for j in range(c.n) if int(np.argmin(sizes)) >> j & 1]
    columns = [[Fraction(0)] * c.m for _ in chosen]
    for i in range(c.m):  # weights of every row sum to 0, none is 0
        members = [t for t, j in enumerate(chosen) if i in c.mask.rows[j]]
        for t in members[:-1]:
            columns[t][i] = Fraction(1)
        if members:
            columns[members[-1]][i] = Fraction(1 - len(members))
    full = all(columns[t][int(i)] != 0 for t, j in enumerate(chosen) for i in c.mask.rows[j])
    return positive(1 if full and rank(columns) < len(chosen) else 0)


IDN_1II = Statement(
    "IDN-1ii",
    "Every W with exactly this support has every s columns independent iff no stopping set (a set without a row met "
    "exactly once) has at most s columns.",
    _stopping_sets_decide,
    latex=r"\mathrm{spark}(W) > s\ \forall W \text{ on the mask} \iff \text{stopping distance} > s",
    source="THEORY.md IDN-1 (ii)",
    cost="stopping distance / C(n, s) ranks",
    check="exact ranks; for a stopping set dependent values are built",
    needs=("full",),
    draws=Draws(max_k=6),
)


# ---- IDN-1z, and the paper's condition


def _flat_below(threshold: Fraction, strict: bool = True):
    """C^2 eps_2k < threshold."""
    return lambda c: below(threshold, c.eps(2 * c.k), c.C_squared, strict)


def _root_flat(c: Case) -> Slack:
    """eps_2k < 1/(2C), squared."""
    eps = c.eps(2 * c.k)
    return positive(Fraction(1, 4) - eps.high**2 * c.C_squared, high=Fraction(1, 4) - eps.low**2 * c.C_squared)


IDN_1Z = Statement(
    "IDN-1z",
    "Even where entries on the mask may vanish: if eps_{2k} < 1/(2 C^2), every 2k columns are independent.",
    _TWO_K,
    {"C^2 eps_2k < 1/2": _flat_below(_HALF)},
    latex=r"\varepsilon_{2k} < \frac{1}{2C^2} \Rightarrow \mathrm{spark}(W) > 2k",
    source="THEORY.md IDN-1z",
    cost="eps_{2k} / C(n, 2k) ranks",
    check="exact ranks of all 2k-sets",
    draws=Draws(values="zeros", max_k=3),
)
IDN_1Z = IDN_1Z.with_mutants(
    IDN_1Z.mutant(
        "no flatness", "eps_{2k} < 1/2 suffices with zeros on the mask.",
        hypotheses={"eps_2k < 1/2": lambda c: below(_HALF, c.eps(2 * c.k))},
    ),
    IDN_1Z.mutant(
        "equality", "eps_{2k} <= 1/(2 C^2) suffices.", hypotheses={"C^2 eps_2k <= 1/2": _flat_below(_HALF, False)}
    ),
    IDN_1Z.mutant("C for C^2", "eps_{2k} < 1/(2C) suffices.", hypotheses={"C eps_2k < 1/2": _root_flat}),
)  # fmt: skip

PAPER_ID = Statement(
    "PAPER-ID",
    "The paper's ratio R_id = 2 C^2 eps_{2k} < 1: k-sparse codes are identifiable. It is IDN-1z; where no entry "
    "vanishes, 2 eps_{2k} < 1 is enough (IDN-1).",
    _TWO_K,
    {"R_id < 1": _flat_below(_HALF)},
    latex=r"R_{\mathrm{id}} = 2 C^2 \varepsilon_{2k} < 1",
    source="Mendoza-Smith 2026, as its code computes it; THEORY.md, the paper's two conditions",
    cost="eps_{2k} / C(n, 2k) ranks",
    check="exact ranks; eps exact or bounded above, never the greedy lower bound",
    draws=Draws(values="zeros", max_k=3),
)


# ---- IDN-2


def _hall(c: Case) -> Slack:
    """|N(T)| >= |T| for all |T| <= k."""
    small = (c.subsets.size <= c.k) & (c.subsets.size > 0)
    return nonnegative(int((c.subsets.neighbours - c.subsets.size)[small].min()))


def _generic(c: Case) -> list[list[int]]:
    """Columns with random large weights on the mask: the rank is the generic one, but for a chance below 1e-6."""
    rng = np.random.default_rng(int(c.mask.sha256[:15], 16))
    weights = rng.integers(1, _GENERIC, c.mask.rows.shape)
    columns = [[0] * c.m for _ in range(c.n)]
    for j in range(c.n):
        for row, weight in zip(c.mask.rows[j], weights[j], strict=True):
            columns[j][int(row)] = int(weight)
    return columns


def _generic_rank_is_matching(c: Case) -> Slack:
    """rank = matching for every set, and independence of all sets of at most k columns iff Hall's condition."""
    columns = _generic(c)
    worst, independent = 0, True
    for chosen in subsets_of(range(c.n)):
        found = rank([columns[j] for j in chosen])
        worst = min(worst, -abs(found - largest_matching(c, chosen)))
        independent = independent and (len(chosen) > c.k or found == len(chosen))
    return nonnegative(worst if independent == (_hall(c).low >= 0) else -1)


def _hall_at(c: Case) -> Slack:
    """|N(T)| >= |T| for |T| = k alone."""
    return nonnegative(int((c.subsets.neighbours - c.subsets.size)[c.subsets.size == min(c.k, c.n)].min()))


def _generic_independence(c: Case) -> Slack:
    columns, size = _generic(c), min(c.k, c.n)
    return nonnegative(min(rank([columns[j] for j in chosen]) for chosen in c.sets(size).tolist()) - size)


IDN_2 = Statement(
    "IDN-2",
    "For almost all values on the mask, rank W_S is the largest matching of S into rows; all s-sets are independent "
    "iff |N(T)| >= |T| for every |T| <= s.",
    _generic_rank_is_matching,
    latex=r"\mathrm{rank}\, W_S = \nu(S) \text{ a.e.};\quad "
    r"|N(T)| \ge |T|\ \forall |T| \le s \iff \mathrm{spark} > s\ \text{ a.e.}",
    source="Koenig, Hall; THEORY.md IDN-2",
    cost="none / matchings and ranks of all sets",
    check="exact ranks at random 31-bit weights",
    needs=("full",),
    draws=Draws(max_m=6, max_n=6, max_k=6, values="positive"),
)
IDN_2 = IDN_2.with_mutants(
    IDN_2.mutant(
        "all weights", "Hall's condition is enough for all values on the mask.", hypotheses={"Hall": _hall},
        conclusion=_independent(lambda c: c.k), draws=replace(IDN_2.draws, values="any"),
    ),
    IDN_2.mutant(
        "one size", "|N(T)| >= |T| for |T| = s alone suffices.", hypotheses={"Hall at s": _hall_at},
        conclusion=_generic_independence,
    ),
)  # fmt: skip


# ---- IDN-3, IDN-4


def _only_support(c: Case, code: list[int | Fraction]) -> Slack:
    """No other support of at most |supp x| columns represents W x."""
    columns = c.exact_columns(tuple(range(c.n)))
    h = [sum((code[j] * columns[j][i] for j in c.support), Fraction(0)) for i in range(c.m)]
    size = len(c.support)
    others = [s for s in c.sets(size).tolist() if tuple(s) != c.support]
    others += [s for s in subsets_of(c.support) if len(s) == size - 1]
    for chosen in others:
        basis = [columns[j] for j in chosen]
        if rank([*basis, h]) == rank(basis):
            return positive(0)
    return positive(1)


def _generic_code(c: Case) -> list[int | Fraction]:
    rng = np.random.default_rng(int(c.dictionary.sha256[:15], 16))
    code: list[int | Fraction] = [0] * c.n
    for j in c.support:
        code[j] = int(rng.integers(1, _GENERIC))
    return code


def _given_code(c: Case) -> list[int | Fraction]:
    return [Fraction(float(v)) for v in c.x]


IDN_3 = Statement(
    "IDN-3",
    "If spark(W) > k + 1, almost every k-sparse code is the only one of its activation with at most k nonzeros.",
    lambda c: _only_support(c, _generic_code(c)),
    {"spark > k + 1": lambda c: positive(spark(c) - (c.k + 1))},
    latex=r"\mathrm{spark}(W) > k+1 \Rightarrow "
    r"\text{a.e. } x \text{ on } S \text{ is the only } k\text{-sparse code of } Wx",
    source="THEORY.md IDN-3",
    cost="C(n, k+1) / C(n, k) ranks",
    check="exact ranks against every other support, random 31-bit coefficients",
    draws=Draws(max_m=6, max_n=6, code="k", max_k=3),
)
IDN_3 = IDN_3.with_mutants(
    IDN_3.mutant(
        "spark > k", "spark(W) > k suffices.", hypotheses={"spark > k": lambda c: positive(spark(c) - c.k)}
    ),
    IDN_3.mutant("every code", "The same for every code.", conclusion=lambda c: _only_support(c, _given_code(c))),
)  # fmt: skip


def _a_posteriori(c: Case) -> Slack:
    fewest = spark(c)
    parts = [_only_support(c, _given_code(c)), nonnegative(fewest - c.subsets.stopping_distance)]
    unit = c.W / np.linalg.norm(c.W, axis=0)
    mu = float(np.abs(unit.T @ unit - np.eye(c.n)).max())
    if mu > 1e-9 and fewest <= c.n:
        parts.append(nonnegative(float(fewest - (1 + 1 / mu))))
    return least(*parts)


IDN_4 = Statement(
    "IDN-4",
    "A posteriori: if W z = h and |supp z| < spark/2 (in particular below (1 + 1/mu)/2, or half the stopping "
    "distance), z is the sparsest code of h.",
    _a_posteriori,
    {"|supp z| < spark/2": lambda c: positive(Fraction(spark(c), 2) - len(c.support))},
    latex=r"Wz = h,\ \|z\|_0 < \tfrac12 \mathrm{spark}(W) \Rightarrow z \text{ is the sparsest}",
    source="Donoho, Elad 2003; Gribonval, Nielsen 2003",
    cost="spark, or the Gram matrix / C(n, k) ranks",
    check="exact ranks against every other support; spark >= 1 + 1/mu and >= the stopping distance",
    needs=("full",),
    draws=Draws(max_n=6, code="any"),
)

STATEMENTS = (IDN_0, IDN_1, IDN_1II, IDN_1Z, IDN_2, IDN_3, IDN_4, PAPER_ID)
