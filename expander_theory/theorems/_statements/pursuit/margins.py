"""One support of a case: its exact recovery coefficient, OMP under every rule for ties, and hard codes for it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from expander_theory.dictionaries import Floats
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import SINGULAR, worst_erc
from expander_theory.theorems.slack import Slack, positive

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


def largest_erc_below_one(c: Case, k: int) -> float:
    """The largest ERC where it is below 1, by sets of the largest size alone (OMP-1m); else a number of at least 1.

    Where k >= n it is that of n - 1 columns: below 1 it leaves no dependent set.
    """
    return worst_erc(c, max(1, min(k, c.n - 1)))


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


def full_rank(c: Case) -> Slack:
    """W_S has full rank, S the support of the code."""
    spectrum = np.linalg.eigvalsh(gram_rows(c, c.support)[:, list(c.support)])
    return positive(float(spectrum[0]), how="least eigenvalue of W_S^T W_S")


def has_outside(c: Case) -> Slack:
    """Some column is outside the support of the code."""
    return positive(c.n - len(c.support))
