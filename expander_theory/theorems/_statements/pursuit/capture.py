"""Section C of THEORY.md: what a code captures of an activation, and what overlaps among its columns take from that."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import networkx
import numpy as np

from expander_theory.dictionaries import Floats
from expander_theory.theorems._statements.pursuit.margins import gram_rows
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import rank
from expander_theory.theorems.slack import Slack, least, nonnegative
from expander_theory.theorems.statement import Draws, Statement

SELECTION = Draws(code="any", signal=True)


# ---- the one-step code


def selected(c: Case) -> list[int]:
    """S: the support of the code where one is given, else the k columns with the largest |<w_j, h>|."""
    if c.code is not None:
        return list(c.support)
    return sorted(np.argsort(-np.abs(c.W.T @ c.h), kind="stable")[: c.k].tolist())


def captured(c: Case, code: Floats) -> float:
    """(||h||^2 - ||h - W code||^2)/||h||^2: the share of the energy that the code captures."""
    return 1 - float(np.sum((c.h - c.W @ code) ** 2) / (c.h @ c.h))


def one_step(c: Case) -> tuple[list[int], Floats, Floats]:
    """S, c_S = W_S^T h in units of ||h||, and the one-step code of h itself, shape (n,)."""
    chosen = selected(c)
    code = np.zeros(c.n)
    code[chosen] = c.W[:, chosen].T @ c.h
    return chosen, code[chosen] / float(np.linalg.norm(c.h)), code


def interference(c: Case, chosen: list[int]) -> Floats:
    """G_S - I for unit columns."""
    inner = gram_rows(c, chosen)[:, chosen].copy()
    np.fill_diagonal(inner, 0.0)
    return inner


def crowding(inner: Floats) -> float:
    """B_S: the largest sum over l in S without j of |G_jl|, j in S."""
    return float(np.abs(inner).sum(axis=1).max())


# ---- STEP-1


def _identity(pairs: int = 2, square: bool = True) -> Callable[[Case], Slack]:
    """-|captured - sum (2 - ||w_j||^2) c_j^2 + (pairs) sum_{j<l} c_j c_l G_jl|, in rationals."""

    def conclusion(c: Case) -> Slack:
        columns = c.exact_columns(tuple(selected(c)))
        h = [Fraction(float(v)) for v in c.h]
        scores = [_dot(w, h) for w in columns]
        rebuilt = [sum((s * w[i] for s, w in zip(scores, columns, strict=True)), Fraction(0)) for i in range(c.m)]
        gain = _dot(h, h) - sum((a - b) ** 2 for a, b in zip(h, rebuilt, strict=True))
        alone = sum((2 - _dot(w, w) if square else 1) * s * s for s, w in zip(scores, columns, strict=True))
        shared = sum(
            scores[a] * scores[b] * _dot(columns[a], columns[b])
            for a, b in itertools.combinations(range(len(columns)), 2)
        )
        return nonnegative(-abs(gain - alone + pairs * shared))

    return conclusion


def _dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((p * q for p, q in zip(a, b, strict=True) if p and q), Fraction(0))


STEP_1 = Statement(
    "STEP-1",
    "The one-step tied code on S, c_S = W_S^T h, captures ||h||^2 - ||h - W_S c_S||^2 = "
    "sum_S (2 - ||w_j||^2) c_j^2 - sum_{j != l in S} c_j c_l G_jl: for unit columns ||c_S||^2 less what overlaps count "
    "twice.",
    _identity(),
    latex=r"\|h\|^2 - \|h - W_S c_S\|^2 = \|c_S\|^2 - \sum_{j \ne l \in S} c_j c_l G_{jl}",
    source="expansion of the square; THEORY.md STEP-1",
    cost="none / k^2 d",
    check="both sides in exact rationals",
    draws=SELECTION,
)
STEP_1 = STEP_1.with_mutants(
    STEP_1.mutant("once", "Every pair of S counts once.", conclusion=_identity(pairs=1)),
    STEP_1.mutant("no overlaps", "It captures sum_S (2 - ||w_j||^2) c_j^2.", conclusion=_identity(pairs=0)),
    STEP_1.mutant("any norm", "||c_S||^2 stands for the first sum for any norms.", conclusion=_identity(square=False)),
)


def _near_its_scores(sums: Callable[[Case, Floats], float]) -> Callable[[Case], Slack]:
    """(bound) ||c_S||^2 - |captured - ||c_S||^2|."""

    def conclusion(c: Case) -> Slack:
        chosen, scores, code = one_step(c)
        energy = float(scores @ scores)
        return nonnegative(sums(c, interference(c, chosen)) * energy - abs(captured(c, code) - energy))

    return conclusion


def _at_most_its_scores(c: Case) -> Slack:
    _, scores, code = one_step(c)
    return nonnegative(float(scores @ scores) - captured(c, code))


STEP_1B = Statement(
    "STEP-1b",
    "For unit columns the one-step code on S captures between (1 - B) ||c_S||^2 and (1 + B) ||c_S||^2, B the largest "
    "sum over l in S without j of |G_jl|, j in S. So it is worse than no code only where B > 1.",
    _near_its_scores(lambda c, inner: crowding(inner)),
    latex=r"\big|\mathrm{captured} - \|c_S\|^2\big| \le \max_{j \in S} \sum_{l \in S \setminus j} |G_{jl}|\, \|c_S\|^2",
    source="Gershgorin; THEORY.md STEP-1",
    cost="none / k^2 d",
    check="the code's error",
    needs=("unit",),
    draws=SELECTION,
)
STEP_1B = STEP_1B.with_mutants(
    STEP_1B.mutant("at most", "It captures at most ||c_S||^2.", conclusion=_at_most_its_scores),
    STEP_1B.mutant("never negative", "It is never worse than no code.",
                   conclusion=lambda c: nonnegative(captured(c, one_step(c)[2]))),
    STEP_1B.mutant("mu", "mu stands for B.",
                   conclusion=_near_its_scores(lambda c, inner: float(np.abs(inner).max()))),
)  # fmt: skip


# ---- TOPK-6a


def _won(h: Floats, r: Floats) -> Floats:
    """2 h_i r_i - r_i^2: what each row captures."""
    return (2 * h - r) * r


def _off_the_rows(more: int = 0, off: Callable[[Floats, Floats], Floats] = _won) -> Callable[[Case], Slack]:
    """T_k(h) + sum_{i notin K} off_i - captured, K the peak rows and the k (+ more) rows that capture most."""

    def conclusion(c: Case) -> Slack:
        h, r = c.h, c.W @ c.x
        unit = float(h @ h + r @ r)
        won, beyond = _won(h, r) / unit, off(h, r) / unit
        largest = float(np.sort(h**2)[::-1][: len(c.support)].sum()) / unit
        peaks = sorted({int(c.mask.rows[j][np.argmax(np.abs(c.values[j]))]) for j in c.support})
        best = np.argsort(-won, kind="stable")[: len(c.support) + more]
        return least(
            *(nonnegative(largest + float(np.delete(beyond, rows).sum() - won.sum())) for rows in (peaks, best))
        )

    return conclusion


TOPK_6A = Statement(
    "TOPK-6a",
    "For any code z of k nonzeros, r = Wz, and any set K of at most k rows, ||h||^2 - ||h - r||^2 <= T_k(h) + "
    "sum_{i notin K} (2 h_i r_i - r_i^2), T_k the energy of the k largest coordinates: what is won over them is won "
    "off the rows on which the columns peak.",
    _off_the_rows(),
    latex=r"\|h\|^2 - \|h - r\|^2 \le T_k(h) + \sum_{i \notin K} (2 h_i r_i - r_i^2),\quad |K| \le k",
    source="THEORY.md TOPK-6a",
    cost="none / k d",
    check="K the peak rows, and the k rows on which most is captured; any k-sparse code",
    draws=SELECTION,
)
TOPK_6A = TOPK_6A.with_mutants(
    TOPK_6A.mutant("T_k", "A k-sparse code captures at most T_k(h).", conclusion=_off_the_rows(off=lambda h, r: 0 * r)),
    TOPK_6A.mutant("k+1 rows", "K may have k + 1 rows.", conclusion=_off_the_rows(more=1)),
    TOPK_6A.mutant("no 2", "h_i r_i stands for 2 h_i r_i - r_i^2.", conclusion=_off_the_rows(off=lambda h, r: h * r)),
)


# ---- TOPK-6b


def _shared_nonzeros(c: Case) -> int:
    """The most rows on which two columns are both nonzero."""
    present = (c.W != 0).astype(np.int64)
    shared = present.T @ present
    np.fill_diagonal(shared, 0)
    return int(shared.max())


def _orthogonal_columns(c: Case) -> Slack:
    """m less the most nonzeros that pairwise orthogonal columns have together."""
    columns = c.exact_columns(tuple(range(c.n)))
    graph = networkx.Graph()
    for j, w in enumerate(columns):
        graph.add_node(j, nonzeros=sum(v != 0 for v in w))
    graph.add_edges_from((a, b) for a, b in itertools.combinations(range(c.n), 2) if _dot(columns[a], columns[b]) == 0)
    return nonnegative(c.m - networkx.max_weight_clique(graph, weight="nonzeros")[1])


def _independent_columns(c: Case) -> Slack:
    columns = c.exact_columns(tuple(range(c.n)))
    kept: list[list[Fraction]] = []
    for w in columns:
        if rank([*kept, w]) > len(kept):
            kept.append(w)
    return nonnegative(c.m - sum(v != 0 for w in kept for v in w))


TOPK_6B = Statement(
    "TOPK-6b",
    "If no two columns share more than one row (zero entries do not count), pairwise orthogonal columns share none: "
    "together they have at most m nonzeros, at most floor(m/d) of them have d, and m of them are one-hot.",
    _orthogonal_columns,
    {"o <= 1": lambda c: nonnegative(1 - _shared_nonzeros(c))},
    latex=r"o \le 1,\ w_j \perp w_l\ \forall j \ne l \in S \Rightarrow \sum_{j \in S} \|w_j\|_0 \le m",
    source="THEORY.md TOPK-6b",
    cost="n^2 d / cliques of the graph of orthogonal columns",
    check="the heaviest set of pairwise orthogonal columns, in exact arithmetic",
    draws=Draws(values="zeros"),
)
TOPK_6B = TOPK_6B.with_mutants(
    TOPK_6B.mutant("o=2", "The same for columns that share two rows.",
                   hypotheses={"o <= 2": lambda c: nonnegative(2 - _shared_nonzeros(c))}),
    TOPK_6B.mutant("independent", "Independent stands for orthogonal.", conclusion=_independent_columns),
)  # fmt: skip

STATEMENTS = (STEP_1, STEP_1B, TOPK_6A, TOPK_6B)
