"""Section B of THEORY.md: when the codes on one given support are the only ones so sparse (IDN-5)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import case_rank
from expander_theory.theorems.slack import Slack, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement


def _alone(c: Case) -> list[int]:
    """u_j, increasing: rows of a column of the support that no other column of it meets."""
    support = list(c.support)
    met = np.bincount(c.mask.rows[support].ravel(), minlength=c.m)
    return sorted(int((met[c.mask.rows[j]] == 1).sum()) for j in support)


def _shared(c: Case) -> list[int]:
    """h_l, decreasing: rows of a column outside the support that the support meets."""
    support = list(c.support)
    rows = np.unique(c.mask.rows[support])
    outside = [l for l in range(c.n) if l not in support]
    return sorted((int(np.isin(c.mask.rows[l], rows).sum()) for l in outside), reverse=True)


def _sizes(c: Case, spare: int = 0) -> Iterator[tuple[int, int]]:
    """U_t and H_t for every t for which t columns outside share enough rows with those of the support."""
    alone, shared = _alone(c), _shared(c)
    for t in range(1, len(alone) + 1):
        able = [h for h in shared if h >= c.d - c.overlap * (t - 1) + spare][:t]
        if len(able) == t:
            yield sum(alone[:t]), sum(able)


def _own_rows(c: Case) -> Slack:
    return nonnegative(_alone(c)[0] - 1)


def _cannot_cover(c: Case) -> Slack:
    return positive(min((mine - theirs for mine, theirs in _sizes(c)), default=1))


def _only_codes(more: int = 0):
    def conclusion(c: Case) -> Slack:
        """No kernel vector has as many entries on the support as outside: exact ranks of all such sets of columns."""
        support = set(c.support)
        for size in range(1, c.n + 1):
            for chosen in itertools.combinations(range(c.n), size):
                inside = sum(j in support for j in chosen)
                if size - inside <= inside + more and _filled(c, chosen):
                    return nonnegative(-1)
        return nonnegative(0)

    return conclusion


def _filled(c: Case, chosen: tuple[int, ...]) -> bool:
    """Whether some kernel vector has exactly these columns as support: none of them is outside the others' span."""
    rank = case_rank(c, chosen)
    if rank == len(chosen):
        return False
    return all(len(chosen) == 1 or case_rank(c, (*chosen[:i], *chosen[i + 1 :])) == rank for i in range(len(chosen)))


IDN_5 = Statement(
    "IDN-5",
    "If no columns outside a support S can cover the rows that only one column of S meets, every code on S is the "
    "only code of its activation with at most as many nonzeros: U_1 >= 1, and U_t > H_t for every t <= |S|, U_t the "
    "sum of the t least numbers of rows of one column of S that the others of S miss, H_t the sum of the t largest "
    "numbers h of rows that a column outside shares with S, among h >= d - o (t - 1), if there are t such.",
    _only_codes(),
    {"U_1 >= 1": _own_rows, "U_t > H_t": _cannot_cover},
    latex=r"U_1 \ge 1,\ U_t > H_t\ (t \le |S|) \Rightarrow \forall x\ \text{on}\ S, z: Wx = Wz,\ "
    r"\|z\|_0 \le \|x\|_0 \Rightarrow z = x",
    source="THEORY.md IDN-5 (unique neighbours of one support)",
    cost="n d / ranks of 2^n sets",
    check="exact ranks of all sets of columns with at most as many outside S as inside",
    needs=("full",),
    draws=Draws(max_m=9, max_n=7, code="k", max_k=3),
    floor=0.1,
)
IDN_5 = IDN_5.with_mutants(
    IDN_5.mutant("no own rows", "U_1 >= 1 is not needed.", hypotheses={"U_t > H_t": _cannot_cover}),
    IDN_5.mutant(
        "equality", "U_t >= H_t suffices.",
        hypotheses={
            "U_1 >= 1": _own_rows,
            "U_t >= H_t": lambda c: nonnegative(min((mine - theirs for mine, theirs in _sizes(c)), default=0)),
        },
    ),
    IDN_5.mutant(
        "one row more", "Columns outside must share one row more to count: h > d - o (t - 1).",
        hypotheses={
            "U_1 >= 1": _own_rows,
            "U_t > H_t": lambda c: positive(min((mine - theirs for mine, theirs in _sizes(c, 1)), default=1)),
        },
    ),
    IDN_5.mutant("one nonzero more", "No other code with one nonzero more either.", conclusion=_only_codes(1)),
)  # fmt: skip

STATEMENTS = (IDN_5,)
