"""Section C of THEORY.md: what no guarantee for OMP can pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from expander_theory.dictionaries import coherence_certified_k, column_overlaps
from expander_theory.masks import Mask
from expander_theory.theorems._statements.pursuit.margins import erc_of, gram_rows, pursuit_margin
from expander_theory.theorems._statements.pursuit.omp import SETS
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import rip
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

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
    draws=SETS,
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

STATEMENTS = (NEG_1, NEG_1D, NEG_2, NEG_3)
