"""Section A of THEORY.md: expansion of the mask."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from expander_theory.masks import Mask, polynomial_mask
from expander_theory.theorems.case import Case
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement
from expander_theory.theorems.subsets import Subsets

_MASKS = Draws(values="positive", max_n=8, max_k=6)
_ENUMERATED = "all sets of columns enumerated, exact rationals"


# ---- EXP-0

EXP_0 = Statement(
    "EXP-0",
    "eps_s, the largest coll(S)/(d|S|) over all sets of at most s columns, does not decrease with s.",
    lambda c: least(*(nonnegative(c.subsets.eps(t + 1) - c.subsets.eps(t)) for t in range(1, c.n)), nonnegative(0)),
    latex=r"\varepsilon_s = \max_{1 \le t \le s} \varepsilon^{=}_t \le \varepsilon_{s+1}",
    source="definition",
    cost="none / n^s",
    check=_ENUMERATED,
    draws=_MASKS,
)
EXP_0 = EXP_0.with_mutants(
    EXP_0.mutant(
        "exact size",
        "Sets of exactly s columns decide: eps^=_s does not decrease with s.",
        conclusion=lambda c: least(
            *(nonnegative(c.subsets.eps_at(t + 1) - c.subsets.eps_at(t)) for t in range(1, c.n)), nonnegative(0)
        ),
    )
)


# ---- EXP-1


def _prefix_lemma(c: Case) -> Slack:
    order = sorted(c.support, key=lambda j: (-abs(c.x[j]), j))
    weights = [Fraction(float(abs(c.x[j]))) for j in order]
    covered: set[int] = set()
    left = Fraction(0)
    for j, a in zip(order, weights, strict=True):
        rows = {int(i) for i in c.mask.rows[j]}
        left += a * len(rows & covered)
        covered |= rows
    steps = [a - b for a, b in itertools.pairwise([*weights, Fraction(0)])]
    right = sum(step * c.subsets.largest_losses[i] for i, step in enumerate(steps, 1))
    return nonnegative(right - left)


EXP_1 = Statement(
    "EXP-1",
    "Listing a set by decreasing weights a_1 >= ... >= a_t >= 0, with c_i the rows of the i-th column that are covered "
    "already: sum a_i c_i <= sum (a_i - a_{i+1}) floor(eps^=_i d i) <= eps_s d sum a_i.",
    _prefix_lemma,
    latex=r"\sum_i a_i c_i \le \sum_i (a_i - a_{i+1}) \lfloor \varepsilon^{=}_i d\, i \rfloor",
    source="Abel summation; THEORY.md EXP-1",
    cost="none / eps_s + d t",
    check=_ENUMERATED + "; the sharper of the two bounds",
    draws=Draws(values="positive", code="any"),
)


# ---- EXP-2


def _unique_slack(share: Fraction, strict: bool = False):  # noqa: ANN202
    """min over |S| = k of |N_1(S)| - (1 - share eps_k) d k."""

    def conclusion(c: Case) -> Slack:
        k = min(c.k, c.n)
        fewest = int(c.subsets.unique[c.subsets.size == k].min())
        bound = (1 - share * c.subsets.eps(k)) * c.d * k
        return positive(fewest - bound) if strict else nonnegative(fewest - bound)

    return conclusion


EXP_2 = Statement(
    "EXP-2",
    "Every set S of at most s columns has at least (1 - 2 eps_s) d|S| rows that exactly one of its columns meets.",
    _unique_slack(Fraction(2)),
    latex=r"|N_1(S)| \ge 2|N(S)| - d|S| \ge (1 - 2\varepsilon_s)\, d |S|",
    source="folklore; equality iff no row is met three times",
    cost="none / n^s",
    check=_ENUMERATED,
    draws=_MASKS,
)
EXP_2 = EXP_2.with_mutants(
    EXP_2.mutant("without 2", "|N_1(S)| >= (1 - eps_s) d|S|.", conclusion=_unique_slack(Fraction(1))),
    EXP_2.mutant("strict", "|N_1(S)| > (1 - 2 eps_s) d|S|.", conclusion=_unique_slack(Fraction(2), strict=True)),
)


# ---- EXP-3


def overlap_bounds(o: int, d: int, s: int, sums: list[int] | None = None) -> list[Fraction]:
    """The certificates (a), (b), (c) of EXP-3 on eps_s and, from the sums O_j(s - 1) of all columns, (d)."""
    bounds = [
        Fraction(o * (s - 1), 2 * d),
        1 - Fraction(sum(max(0, d - o * t) for t in range(s)), d * s),
        Fraction(o * (s - 1), d + o * (s - 1)),
    ]
    if sums is not None:
        bounds.append(Fraction(max(sums), 2 * d))
    return bounds


def _overlap_sums(c: Case, s: int) -> list[int]:
    return [int(row.sum()) for row in -np.sort(-c.overlaps, axis=1)[:, : s - 1]]


def _overlap_certificates(c: Case) -> Slack:
    s = min(c.k, c.n)
    sums = _overlap_sums(c, s)
    exact_size = Fraction(sum(sorted(sums, reverse=True)[:s]), 2 * c.d * s)
    bounds = overlap_bounds(c.overlap, c.d, s, sums)
    eps = c.eps(s)
    how = eps.how
    parts = [nonnegative(bound - eps.high, high=bound - eps.low, how=how) for bound in bounds]
    if c.n <= 16:
        parts.append(nonnegative(exact_size - c.subsets.eps_at(s)))
    return least(*parts)


EXP_3 = Statement(
    "EXP-3",
    "With o the largest overlap of two columns and O_j(t) the sum of the t largest overlaps of column j: eps_s is at "
    "most (a) o(s-1)/(2d), (b) 1 - sum_{t<s} max(0, d - ot)/(ds), (c) o(s-1)/(d + o(s-1)), (d) max_j O_j(s-1)/(2d); "
    "and eps^=_s at most the sum of the s largest O_j(s-1) over 2ds.",
    _overlap_certificates,
    latex=r"\varepsilon_s \le \tfrac{o(s-1)}{2d},\; 1 - \tfrac{1}{ds}\sum_{t<s}(d-ot)_+,\; \tfrac{o(s-1)}{d+o(s-1)},\; "
    r"\max_j \tfrac{O_j(s-1)}{2d}",
    source="Bonferroni, Cauchy-Schwarz; THEORY.md EXP-3",
    cost="none / sum of squared row degrees; n^s to compare",
    check=_ENUMERATED,
    draws=_MASKS,
)
EXP_3 = EXP_3.with_mutants(
    EXP_3.mutant(
        "s-2",
        "eps_s <= o(s-2)/(2d).",
        hypotheses={"s >= 2": lambda c: nonnegative(min(c.k, c.n) - 2)},
        conclusion=lambda c: nonnegative(Fraction(c.overlap * (min(c.k, c.n) - 2), 2 * c.d) - c.subsets.eps(c.k)),
    ),
    EXP_3.mutant(
        "2d for d",
        "eps_s <= o(s-1)/(2d + o(s-1)).",
        conclusion=lambda c: nonnegative(
            Fraction(c.overlap * (min(c.k, c.n) - 1), 2 * c.d + c.overlap * (min(c.k, c.n) - 1)) - c.subsets.eps(c.k)
        ),
    ),
)


# ---- EXP-4


def _transfer(growth) -> Any:  # noqa: ANN001
    def conclusion(c: Case) -> Slack:
        sub, parts = c.subsets, [nonnegative(0)]
        for s, t in itertools.combinations(range(2, c.n + 1), 2):
            parts.append(nonnegative(sub.eps_at(s) * growth(s, t) - sub.eps_at(t)))
            parts.append(nonnegative(sub.eps(s) * growth(s, t) - sub.eps(t)))
        return least(*parts)

    return conclusion


EXP_4 = Statement(
    "EXP-4",
    "Expansion of small sets bounds that of large ones: eps_t <= eps_s (t-1)/(s-1) for 2 <= s <= t <= n, for exact "
    "sizes and cumulatively.",
    _transfer(lambda s, t: Fraction(t - 1, s - 1)),
    latex=r"\varepsilon^{=}_t \le \varepsilon^{=}_s \tfrac{t-1}{s-1}",
    source="THEORY.md EXP-4 (uniform subsets, convexity)",
    cost="none / n^t",
    check=_ENUMERATED,
    draws=Draws(values="positive", max_n=7),
)
EXP_4 = EXP_4.with_mutants(
    EXP_4.mutant("no growth", "eps_t <= eps_s for s <= t.", conclusion=_transfer(lambda s, t: Fraction(1)))
)


# ---- EXP-5


def _fewest_neighbours(c: Case) -> int:
    k = min(c.k, c.n)
    return int(c.subsets.neighbours[c.subsets.size == k].min())


def _incidence(mask: Mask) -> np.ndarray:
    return mask.to_scipy().toarray()


def spectral_bound(mask: Mask, s: int, form: str) -> float:
    """EXP-5 (a), (b) or (c, with the average right degree): a lower bound on |N(S)|, |S| = s; small masks, dense."""
    B = _incidence(mask)
    m, n, d = mask.m, mask.n, mask.d
    if form == "b":
        sigma = np.linalg.norm(B - d / m, 2)
        return d * d * s / (d * d * s / m + sigma**2)
    values, vectors = np.linalg.eigh(B.T @ B)
    l1, l2 = values[-1], values[-2] if n > 1 else 0.0
    if form == "c":
        return d * d * s / ((d * (n * d / m) - l2) * s / n + l2)
    u = np.abs(vectors[:, -1])
    if n > 1 and l1 - l2 < 1e-9 * l1:
        return d * d * s / l1  # any vector of the top eigenspace will do
    top = np.sort(u)[::-1][:s].sum()
    return d * d * s * s / (l2 * s + (l1 - l2) * top**2)


def _spectral(forms: str):  # noqa: ANN202
    def conclusion(c: Case) -> Slack:
        s = min(c.k, c.n)
        return least(*(nonnegative(float(_fewest_neighbours(c) - spectral_bound(c.mask, s, f))) for f in forms))

    return conclusion


def _vacuity(c: Case) -> Slack:
    sigma = np.linalg.norm(_incidence(c.mask) - c.d / c.m, 2)
    return nonnegative(float(sigma**2 - c.n * c.d * (1 - c.d / c.m) / (c.m - 1)) if c.m > 1 else 0)


_RIGHT_REGULAR = {"all row degrees equal": lambda c: nonnegative(int(c.mask.row_degrees.min() - c.mask.row_degrees.max()))}

EXP_5 = Statement(
    "EXP-5",
    "For |S| = s, (a) |N(S)| >= d^2 s^2/(l2 s + (l1 - l2) U_s^2), with l1, l2 the top eigenvalues of B^T B and U_s the "
    "sum of the s largest entries of the top eigenvector; (b) |N(S)| >= d^2 s/(d^2 s/m + sigma^2) with sigma the norm of "
    "B - (d/m) 11^T. Any row degrees.",
    _spectral("ab"),
    latex=r"|N(S)| \ge \frac{d^2 s^2}{\lambda_2 s + (\lambda_1 - \lambda_2) U_s^2},\quad "
    r"|N(S)| \ge \frac{d^2 s}{d^2 s/m + \sigma^2}",
    source="Cauchy-Schwarz; after Tanner 1984",
    cost="none / one sparse SVD; n^s to compare",
    check="all sets enumerated; eigenvalues in floats, 1e-9",
    draws=_MASKS,
)
EXP_5C = Statement(
    "EXP-5c",
    "If all rows have the same degree D: |N(S)| >= d^2 s/((dD - l2) s/n + l2) for |S| = s.",
    _spectral("c"),
    _RIGHT_REGULAR,
    latex=r"|N(S)| \ge \frac{d^2 s}{(dD - \lambda_2)s/n + \lambda_2}",
    source="R. M. Tanner, SIAM J. Alg. Disc. Meth. 1984",
    cost="row degrees / one SVD; n^s to compare",
    check="all sets enumerated; eigenvalues in floats, 1e-9",
    draws=_MASKS,
)
EXP_5C = EXP_5C.with_mutants(
    EXP_5C.mutant(
        "irregular", "The same with the average row degree, rows of any degree but none empty.",
        hypotheses={"no empty row": lambda c: positive(int(c.mask.row_degrees.min()))},
    )
)  # fmt: skip
EXP_5D = Statement(
    "EXP-5d",
    "sigma^2 >= nd(1 - d/m)/(m-1): the certificate (b) cannot reach eps_s < 1/2 when n(1 - d/m) >= 2(m-1). Spectral "
    "certificates are vacuous at SAE shapes.",
    _vacuity,
    latex=r"\sigma^2 \ge \frac{nd(1 - d/m)}{m-1}",
    source="trace; see also Kahale, J. ACM 1995",
    cost="none / one SVD",
    check="singular values in floats",
    draws=_MASKS,
)


# ---- EXP-7


def least_possible(mask: Mask, s: int) -> list[Fraction]:
    """EXP-7 (a), (b), (c): lower bounds on eps^=_s, (a) and (c) from the row degrees of the mask."""
    n, d, m = mask.n, mask.d, mask.m
    degrees = [int(D) for D in mask.row_degrees]
    covered = sum(1 - Fraction(math.comb(n - D, s), math.comb(n, s)) for D in degrees)
    bounds = [1 - covered / (d * s), 1 - Fraction(m, d * s)]
    if s <= max(degrees):
        bounds.append(Fraction(s - 1, d * s))
    return bounds


def crowded_rows(m: int, n: int, d: int, s: int) -> Fraction:
    """EXP-7 (d): max over r, h of h/d - r/(ds) where r rows meet s columns at least h times each, on average."""
    best = Fraction(0)
    for r in range(1, m + 1):
        for h in range(1, min(d, r) + 1):
            ways = sum(math.comb(r, i) * math.comb(m - r, d - i) for i in range(h, min(d, r) + 1))
            if s <= math.ceil(Fraction(n * ways, math.comb(m, d))):
                best = max(best, Fraction(h, d) - Fraction(r, d * s))
    return best


def _impossible(c: Case) -> Slack:
    s = min(c.k, c.n)
    balanced = Mask(c.m, c.mask.rows)
    bounds = [*least_possible(balanced, s), crowded_rows(c.m, c.n, c.d, s)]
    return least(*(nonnegative(c.subsets.eps_at(s) - bound) for bound in bounds))


EXP_7 = Statement(
    "EXP-7",
    "For every left-d-regular mask, eps^=_s is at least (a) 1 - sum_i [1 - C(n-D_i, s)/C(n, s)]/(ds), (b) 1 - m/(ds), "
    "(c) (s-1)/(ds) if s <= max D_i, (d) h/d - r/(ds) if s <= ceil(n P(Hyp(m, r, d) >= h)).",
    _impossible,
    latex=r"\varepsilon^{=}_s \ge 1 - \tfrac{1}{ds}\sum_i \Big[1 - \tbinom{n-D_i}{s}/\tbinom{n}{s}\Big]",
    source="averaging; THEORY.md EXP-7",
    cost="none / trivial; n^s to compare",
    check=_ENUMERATED,
    draws=_MASKS,
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


def _polynomial_overlap(drop: int):  # noqa: ANN202
    def conclusion(parameters: tuple[int, int, int]) -> Slack:
        q, d, r = parameters
        mask = polynomial_mask(q, d, r=r)
        packed = math.comb(mask.m, r) - mask.n * math.comb(d, r)
        return least(nonnegative(r - drop - _largest_overlap(mask.rows)), nonnegative(packed))

    return conclusion


EXP_9 = Statement(
    "EXP-9",
    "The polynomial mask over GF(q) (m = dq, n = q^r, r <= d <= q + 1) has overlaps of at most r - 1; and an overlap of "
    "at most r - 1 implies n C(d, r) <= C(m, r).",
    _polynomial_overlap(1),
    latex=r"|N(f) \cap N(g)| \le r - 1,\qquad n\tbinom{d}{r} \le \tbinom{m}{r}",
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
    check=_ENUMERATED,
    draws=_MASKS,
)

STATEMENTS = (EXP_0, EXP_1, EXP_2, EXP_3, EXP_4, EXP_5, EXP_5C, EXP_5D, EXP_7, EXP_8, EXP_9, EXP_10)
