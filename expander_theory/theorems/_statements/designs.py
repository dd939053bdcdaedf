"""Section A of THEORY.md, second half: what is impossible or hard, and explicit masks."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from expander_theory.dictionaries import least_possible_eps, mask_eps_lower_bound
from expander_theory.masks import Mask, polynomial_mask
from expander_theory.theorems._subsets import Subsets
from expander_theory.theorems.case import Case
from expander_theory.theorems.slack import Slack, least, nonnegative
from expander_theory.theorems.statement import Draws, Statement

_MASKS = Draws(values="positive", max_n=8, max_k=6)


# ---- EXP-7


def _impossible(c: Case) -> Slack:
    s = min(c.k, c.n)
    bound = max(mask_eps_lower_bound(c.mask, s), least_possible_eps(c.m, c.n, c.d, s))
    return nonnegative(c.subsets.eps_at(s) - bound)


def _averaged(degrees: list[int], n: int, d: int, s: int) -> Fraction:
    """(a) for these row degrees."""
    total = math.comb(n, s)
    return 1 - sum((1 - Fraction(math.comb(n - D, s), total) for D in degrees), Fraction(0)) / (d * s)


def _balance(c: Case) -> Slack:
    """(a) with the mask's own row degrees, minus (a) with balanced ones."""
    s = min(c.k, c.n)
    low, extra = divmod(c.n * c.d, c.m)
    balanced = _averaged([low + 1] * extra + [low] * (c.m - extra), c.n, c.d, s)
    return nonnegative(_averaged(c.mask.row_degrees.tolist(), c.n, c.d, s) - balanced, how="(a), least if balanced")


EXP_7 = Statement(
    "EXP-7",
    "For every left-d-regular mask, eps^=_s is at least (a) 1 - sum_i [1 - C(n-D_i, s)/C(n, s)]/(ds), (b) 1 - m/(ds), "
    "(c) (s-1)/(ds) if s <= max D_i, (d) h/d - r/(ds) if s <= ceil(n P(Hyp(m, r, d) >= h)); (a) is least for balanced "
    "row degrees, with which it bounds every mask.",
    lambda c: least(_impossible(c), _balance(c)),
    latex=r"\varepsilon^{=}_s \ge 1 - \tfrac{1}{ds}\sum_i \Big[1 - \tbinom{n-D_i}{s}/\tbinom{n}{s}\Big]",
    source="averaging; THEORY.md EXP-7",
    cost="none / trivial; n^s to compare",
    check="all sets of columns enumerated, exact rationals",
    draws=_MASKS,
)
EXP_7 = EXP_7.with_mutants(
    EXP_7.mutant(
        "balance",
        "(a) is largest for balanced row degrees.",
        conclusion=lambda c: nonnegative(-_balance(c).low),
    ),
)


# ---- EXP-8


def _graphs() -> st.SearchStrategy[tuple[int, tuple[tuple[int, int], ...]]]:
    def edges(v: int) -> st.SearchStrategy[tuple[int, tuple[tuple[int, int], ...]]]:
        pairs = list(itertools.combinations(range(v), 2))
        chosen = st.lists(st.sampled_from(pairs), min_size=1, max_size=len(pairs), unique=True)
        return chosen.map(lambda e: (v, tuple(sorted(e))))

    return st.integers(3, 5).flatmap(edges)


def _clique_equivalence(graph: tuple[int, tuple[tuple[int, int], ...]]) -> Slack:
    v, edges = graph
    mask = Mask(v, np.array(edges))
    q = 3 if len(edges) < 6 else 4
    s = math.comb(q, 2)
    eps = 1 - (q + Fraction(q, s)) / (2 * s)
    expands = Subsets(mask).eps(s) <= eps
    clique = any(
        all(pair in edges for pair in itertools.combinations(chosen, 2))
        for chosen in itertools.combinations(range(v), q)
    )
    return nonnegative(0 if expands == (not clique) else -1)


EXP_8 = Statement(
    "EXP-8",
    "Exact expansion is coNP-complete already for d = 2: with columns the edges of a graph H and rows its vertices, "
    "q >= 3, s = C(q,2), the mask is an (s, 1 - (q + q/s)/(2s))-expander iff H has no q-clique.",
    _clique_equivalence,
    latex=r"\varepsilon_s \le 1 - \tfrac{q + q/s}{2s} \iff H \not\supseteq K_q",
    source="reduction from clique; THEORY.md EXP-8",
    cost="none / n^s",
    check="both sides of the equivalence on small graphs",
    instances=_graphs,
)


# ---- EXP-9


@st.composite
def _polynomials(draw: Any, prime_powers: bool = True) -> tuple[int, int, int]:
    q = draw(st.sampled_from([2, 3, 4, 5, 7, 8, 9] if prime_powers else [4, 6, 8, 9, 10]))
    d = draw(st.integers(2, q + 1 if prime_powers else q))
    return q, d, draw(st.integers(2, min(d, 3 if q <= 4 else 2)))


def _largest_overlap(rows: np.ndarray) -> int:
    incidence = np.zeros((rows.shape[0], int(rows.max()) + 1), np.int64)
    incidence[np.arange(rows.shape[0])[:, None], rows] = 1
    overlaps = incidence @ incidence.T
    np.fill_diagonal(overlaps, 0)
    return int(overlaps.max())


def _modular_rows(q: int, d: int, r: int) -> np.ndarray:
    """The polynomial construction in the integers mod q, which is no field unless q is prime."""
    coefficients = np.array(list(itertools.product(range(q), repeat=r)))
    points = np.arange(d)
    values = sum(coefficients[:, [c]] * points[None, :] ** c for c in range(r)) % q
    return values + q * points


def _polynomial_overlap(drop: int):
    def conclusion(parameters: tuple[int, int, int]) -> Slack:
        q, d, r = parameters
        mask = polynomial_mask(q, d, r=r)
        return nonnegative(r - drop - _largest_overlap(mask.rows))

    return conclusion


EXP_9 = Statement(
    "EXP-9",
    "The polynomial mask over GF(q) (m = dq, n = q^r, r <= d <= q + 1) has overlaps of at most r - 1.",
    _polynomial_overlap(1),
    latex=r"|N(f) \cap N(g)| \le r - 1",
    source="DeVore 2007; two polynomials of degree < r agree in at most r - 1 points",
    cost="none / B^T B",
    check="all pairs of columns, prime powers q up to 9",
    instances=_polynomials,
)
EXP_9 = EXP_9.with_mutants(
    EXP_9.mutant("r-2", "Overlaps are at most r - 2.", conclusion=_polynomial_overlap(2)),
    EXP_9.mutant(
        "composite modulus",
        "Arithmetic modulo any q >= d gives overlaps of at most r - 1.",
        instances=lambda: _polynomials(prime_powers=False),
        conclusion=lambda p: nonnegative(p[2] - 1 - _largest_overlap(_modular_rows(*p))),
    ),
)


def _packing(c: Case) -> Slack:
    r = c.overlap + 1
    return nonnegative(math.comb(c.m, r) - c.n * math.comb(c.d, r))


EXP_9P = Statement(
    "EXP-9p",
    "Packing: if no two columns share r rows, then n C(d, r) <= C(m, r).",
    _packing,
    latex=r"o \le r - 1 \Rightarrow n\tbinom{d}{r} \le \tbinom{m}{r}",
    source="counting r-subsets of the supports",
    cost="B^T B / trivial",
    check="r = 1 + the largest overlap of masks drawn, exact integers",
    draws=_MASKS,
)


# ---- EXP-10


def has_triangle(mask: Mask) -> bool:
    """Whether three columns meet pairwise in three different rows."""
    for a, b, c in itertools.combinations(range(mask.n), 3):
        rows = [set(map(int, mask.rows[j])) for j in (a, b, c)]
        for i, j, l in itertools.product(rows[0] & rows[1], rows[0] & rows[2], rows[1] & rows[2]):
            if len({i, j, l}) == 3:
                return True
    return False


def _girth_bound(c: Case) -> Slack:
    bound = c.d + 1 if has_triangle(c.mask) else max(2 * c.d, c.d + 1)
    return nonnegative(c.subsets.stopping_distance - min(bound, c.n + 1))


EXP_10 = Statement(
    "EXP-10",
    "If no two columns share two rows (girth >= 6), every stopping set has at least d + 1 columns; without triangles "
    "too (girth >= 8), at least 2d.",
    _girth_bound,
    {"overlap at most 1": lambda c: nonnegative(1 - c.overlap)},
    latex=r"\mathrm{girth} \ge 6 \Rightarrow s(B) \ge d+1, \qquad \mathrm{girth} \ge 8 \Rightarrow s(B) \ge 2d",
    source="THEORY.md EXP-10",
    cost="B^T B / 2^n",
    check="all sets of columns enumerated, exact rationals",
    draws=_MASKS,
)

STATEMENTS = (EXP_7, EXP_8, EXP_9, EXP_9P, EXP_10)
