"""Section B of THEORY.md, new statements: exact recovery coefficients below 1 also make basis pursuit exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from expander_theory.dictionaries import Dictionary, consecutive_sums
from expander_theory.theorems._statements.l1 import unique_by_l1
from expander_theory.theorems._statements.pursuit.margins import erc_of, expansions, full_rank, gram_rows, outside
from expander_theory.theorems._statements.pursuit.omp import ERC
from expander_theory.theorems.case import Case
from expander_theory.theorems.searching._strategies import with_parts
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement


def _recovered_by_l1(c: Case) -> Slack:
    """Codes on S with the signs of x, and with those of the two largest W_S^+ w_j, j outside."""
    found, chosen = expansions(c, c.support), list(c.support)
    if found is None:
        return positive(0.0)
    codes = [c.x]
    for j in sorted(outside(c, chosen), key=lambda j: -float(np.abs(found[:, j]).sum()))[:2]:
        code = np.zeros(c.n)
        code[chosen] = np.where(found[:, j] < 0, -1.0, 1.0)
        codes.append(code)
    return least(*(unique_by_l1(with_parts(c, code=code), c.support) for code in codes))


def _weighted(c: Case) -> Case:
    """Columns of l1 norm 1: minimisation weighted by ||w_j||_1 is plain there."""
    dictionary = Dictionary(c.mask, c.values / c.norms1[:, None])
    return with_parts(c, dictionary=dictionary, code=c.x * c.norms1, unit=False)


def _off(c: Case) -> float:
    """max_{j notin S} ||W_S^T w_j||_1."""
    return float(np.abs(gram_rows(c, c.support)[:, outside(c, c.support)]).sum(axis=0).max(initial=0.0))


L1_ERC = Statement(
    "L1-ERC",
    "If ERC(S) < 1, every code with support inside S is the only minimiser of ||z||_1 under Wz = Wx: basis pursuit, "
    "without weights, is exact. The norms of the columns do not matter.",
    _recovered_by_l1,
    ERC,
    latex=r"\mathrm{ERC}(S) < 1,\ \mathrm{supp}\,x \subset S \Rightarrow x = \arg\min\{\|z\|_1 : Wz = Wx\}",
    source="Tropp 2004, Greed is good; THEORY.md L1-ERC",
    cost="k^3 + k^2 n / one LP per sign pattern",
    check="LPs over the kernel for the code's signs and those of the two largest W_S^+ w_j; smaller supports by NSP-3",
    draws=Draws(max_m=6, max_n=7, code="k", max_k=3),
    floor=0.2,
)
L1_ERC = L1_ERC.with_mutants(
    L1_ERC.mutant(
        "equality", "ERC(S) <= 1 suffices.", hypotheses={"ERC(S) <= 1": lambda c: nonnegative(1 - erc_of(c))}
    ),
    L1_ERC.mutant(
        "weights",
        "It makes l1 minimisation weighted by ||w_j||_1 exact.",
        needs=("unit",),
        conclusion=lambda c: _recovered_by_l1(_weighted(c)),
    ),
    L1_ERC.mutant(
        "no inverse",
        "max_{j notin S} ||W_S^T w_j||_1 < 1 suffices for unit columns.",
        needs=("unit",),
        hypotheses={"W_S full rank": full_rank, "||W_S^T w_j||_1 < 1": lambda c: positive(1 - _off(c))},
    ),
    L1_ERC.mutant(
        "converse",
        "If W_S has full rank and ERC(S) > 1, basis pursuit fails on some code on S.",
        hypotheses={"W_S full rank": full_rank, "ERC(S) > 1": lambda c: positive(erc_of(c) - 1)},
        conclusion=lambda c: nonnegative(-_recovered_by_l1(c).low),
    ),
)


# ---- L1-ERCb: the condition of certificates


def _sums(c: Case) -> Callable[[int], float]:
    """A_t: the largest sum of t moduli |<w_j, w_l>|, l != j; A_{n-1} beyond."""
    moduli = np.abs(c.G)
    np.fill_diagonal(moduli, 0)
    totals = np.concatenate([[0.0], np.cumsum(-np.sort(-moduli, axis=1), axis=1).max(axis=0)])
    return lambda t: float(totals[min(t, c.n - 1)])


def _both_sums(c: Case) -> float:
    """A_k + A_{k-1}, k = |supp x|."""
    return consecutive_sums(_sums(c), len(c.support))


def _squares(c: Case) -> np.ndarray:
    """||w_j||_2^2."""
    return (c.values**2).sum(axis=1)


L1_ERCB = Statement(
    "L1-ERCb",
    "With A_k the largest sum of k moduli |<w_j, w_l>|, l != j: if A_k + A_{k-1} < min_j ||w_j||_2^2, basis pursuit "
    "recovers every k-sparse code.",
    _recovered_by_l1,
    {"A_k + A_k-1 < N": lambda c: positive(1 - _both_sums(c) / float(_squares(c).min()))},
    latex=r"A_k + A_{k-1} < \min_j \|w_j\|_2^2 \Rightarrow \text{basis pursuit is exact}",
    source="Tropp 2004; THEORY.md L1-ERC with OMP-3",
    cost="Gram matrix / one LP per sign pattern",
    check=L1_ERC.check,
    draws=L1_ERC.draws,
)
L1_ERCB = L1_ERCB.with_mutants(
    L1_ERCB.mutant(
        "no k-1",
        "A_k < min_j ||w_j||_2^2 suffices.",
        draws=replace(L1_ERC.draws, values="flat"),
        hypotheses={"A_k < N": lambda c: positive(1 - _sums(c)(len(c.support)) / float(_squares(c).min()))},
    ),
    L1_ERCB.mutant(
        "largest norm",
        "A_k + A_{k-1} < max_j ||w_j||_2^2 suffices.",
        hypotheses={"A_k + A_k-1 < max": lambda c: positive(1 - _both_sums(c) / float(_squares(c).max()))},
    ),
)

STATEMENTS = (L1_ERC, L1_ERCB)
