"""Uniform random masks: how likely they are to expand, exactly by union bound (THEORY.md EXP-6, EXP-6b, IDN-2)."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from expander_theory.base import require, require_choice, require_int

Condition = Literal["identifiability", "stopping", "hall", "l0", "l1"]
CONDITIONS = ("identifiability", "stopping", "hall", "l0", "l1")


def expansion_failure(m: int, n: int, d: int, s: int, eps: Fraction, *, strict: bool = True) -> float:
    """An upper bound on P(eps_s > eps), or P(eps_s >= eps) where ``strict``, over uniform random masks.

    delta(s, eps) = sum over t = 2..s of C(n, t) P(|N_t| <= u_t), with the exact law of |N_t|, a Markov chain; in
    the log domain, O(s m d). Source: THEORY.md EXP-6.

    Args:
        m, n, d: shape of the masks: n independent uniform d-subsets of m rows.
        s: largest size of a set, 1..n.
        eps: the expansion in question, in [0, 1).
        strict: bound the probability that eps_s < eps fails; otherwise that eps_s <= eps fails.

    Returns:
        the bound, capped at 1.

    Raises:
        InvalidArgument: an argument out of range.
    """
    _require_shape(m, n, d)
    s = require_int("s", s)
    require(1 <= s <= n, "s", s, f"must be between 1 and n = {n}")
    eps = Fraction(eps)
    require(0 <= eps < 1, "eps", eps, "must be in [0, 1)")
    if strict and eps == 0:
        return 1.0  # eps_1 = 0 is not below 0
    terms = _failure_terms(m, n, d, s, lambda t: _most_neighbours(d, t, eps, strict))
    return math.exp(min(0.0, _log_sum(terms))) if terms.size else 0.0


def hall_failure(m: int, n: int, d: int, s: int) -> float:
    """An upper bound on P(some set of 2..s columns has fewer neighbours than columns) (THEORY.md IDN-2, EXP-6).

    Raises:
        InvalidArgument: an argument out of range.
    """
    _require_shape(m, n, d)
    s = require_int("s", s)
    require(1 <= s <= n, "s", s, f"must be between 1 and n = {n}")
    terms = _failure_terms(m, n, d, s, lambda t: t - 1)
    return math.exp(min(0.0, _log_sum(terms))) if terms.size else 0.0


def stopping_set_failure(m: int, n: int, d: int, s: int) -> float:
    """An upper bound on P(some stopping set has at most s columns), capped at 1.

    A stopping set is a nonempty set of columns without a row met exactly once. Sum over t of C(n, t) p_t with p_t from
    2-associated Stirling numbers; O((d s)^2) and log domain. Source: THEORY.md EXP-6b.

    Raises:
        InvalidArgument: an argument out of range.
    """
    _require_shape(m, n, d)
    s = require_int("s", s)
    require(1 <= s <= n, "s", s, f"must be between 1 and n = {n}")
    terms = _stopping_terms(m, n, d, s)
    return math.exp(min(0.0, _log_sum(terms))) if terms.size else 0.0


def certified_sparsity(
    m: int, n: int, d: int, condition: Condition, *, failure: float = 0.01, limit: int = 2048
) -> int:
    """Largest k for which all but a share ``failure`` of uniform random masks satisfy a sufficient condition.

    Args:
        condition: "identifiability": eps_{2k} < 1/2 (IDN-1); "stopping": no stopping set of 2k columns or fewer (IDN-1
            ii); "hall": |N(T)| >= |T| up to 2k columns (unique codes for almost all values, IDN-2); "l0": eps_k <
            (1 - 1/d)/2 (L0-1); "l1": eps_{2k} < 1/4 (NSP-2 for flat values).
        failure: bound on the share of masks that fail.
        limit: sets of more columns are not looked at, so k is at most limit/2 (limit for "l0").

    Raises:
        InvalidArgument: an argument out of range.
    """
    _require_shape(m, n, d)
    require_choice("condition", condition, CONDITIONS)
    require(0 < failure < 1, "failure", failure, "must be in (0, 1)")
    limit = min(require_int("limit", limit), n)
    require(limit >= 1, "limit", limit, "must be at least 1")
    per_k = 1 if condition == "l0" else 2
    if condition == "l0" and d == 1:
        return 0  # eps_k < 0 never holds
    size = min(32, limit)
    while True:
        terms = np.full(size + 1, -np.inf)
        terms[2:] = _condition_terms(m, n, d, size, condition)
        total = np.logaddexp.accumulate(terms)
        bad = np.nonzero(total > math.log(failure))[0]
        if bad.size or size == limit:
            proved = int(bad[0]) - 1 if bad.size else size
            return proved // per_k
        size = min(2 * size, limit)


def _condition_terms(m: int, n: int, d: int, s: int, condition: Condition) -> NDArray[np.float64]:
    if condition == "stopping":
        return _stopping_terms(m, n, d, s)
    if condition == "hall":
        return _failure_terms(m, n, d, s, lambda t: t - 1)
    eps = {"identifiability": Fraction(1, 2), "l1": Fraction(1, 4), "l0": Fraction(d - 1, 2 * d)}[condition]
    return _failure_terms(m, n, d, s, lambda t: _most_neighbours(d, t, eps, True))


def _require_shape(m: int, n: int, d: int) -> None:
    for name, value in (("m", m), ("n", n), ("d", d)):
        require(require_int(name, value) >= 1, name, value, "must be at least 1")
    require(d <= m, "d", d, f"must be at most m = {m}")


def _most_neighbours(d: int, t: int, eps: Fraction, strict: bool) -> int:
    """The largest |N(S)|, |S| = t, that makes eps_t >= eps (strict), or eps_t > eps."""
    edge = (1 - eps) * d * t
    return math.floor(edge) if strict else math.ceil(edge) - 1


def _failure_terms(m: int, n: int, d: int, s: int, most) -> NDArray[np.float64]:
    """log of C(n, t) P(|N_t| <= most(t)) for t = 2..s."""
    law = np.full(m + 1, -np.inf)
    law[d] = 0.0
    gains = _gain_table(m, d)
    terms = []
    for t in range(2, s + 1):
        law = _grown(law, gains, d)
        u = min(m, most(t))
        tail = _log_sum(law[: u + 1]) if u >= d else -math.inf
        terms.append(_log_binomial(n, t) + tail)
    return np.array(terms)


@lru_cache(maxsize=8)
def _gain_table(m: int, d: int) -> NDArray[np.float64]:
    """log P(u -> u + g) = C(u, d-g) C(m-u, g)/C(m, d), shape (d + 1, m + 1) over (g, u)."""
    u = np.arange(m + 1)
    table = np.full((d + 1, m + 1), -np.inf)
    for g in range(d + 1):
        possible = (u >= d - g) & (m - u >= g)
        table[g, possible] = _log_binomial(u[possible], d - g) + _log_binomial(m - u[possible], g) - _log_binomial(m, d)
    return table


def _grown(law: NDArray[np.float64], gains: NDArray[np.float64], d: int) -> NDArray[np.float64]:
    """Law of |N_{t+1}| from that of |N_t|, logs."""
    m = law.size - 1
    moved = np.full((d + 1, m + 1), -np.inf)
    for g in range(d + 1):
        moved[g, g:] = (law + gains[g])[: m + 1 - g]
    peak = moved.max(axis=0)
    safe = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(moved - safe).sum(axis=0)) + safe


def _stopping_terms(m: int, n: int, d: int, s: int) -> NDArray[np.float64]:
    """log of C(n, t) p_t for t = 2..s, p_t bounding the probability that t given columns are a stopping set."""
    balls = d * s
    cells = min(m, balls // 2)
    log_u = np.log(np.arange(1, cells + 1))
    # log of u! S2(N, u), the ways to throw N labelled balls onto u labelled rows, each hit at least twice, divided by
    # m^N so that numbers stay small: a(N, u) = [u a(N-1, u) + u (N-1) a(N-2, u-1) / m] / m
    previous, current = np.full(cells + 1, -np.inf), np.full(cells + 1, -np.inf)
    previous[0] = 0.0  # no ball, no row
    log_m = math.log(m)
    ways = gammaln(m + 1) - gammaln(np.arange(cells + 1) + 1) - gammaln(m - np.arange(cells + 1) + 1)
    distinct = d * log_m - sum(math.log(m - i) for i in range(d))  # log of m^d / (m)_d
    terms = []
    for N in range(2, balls + 1):
        following = np.full(cells + 1, -np.inf)
        stay = log_u + current[1:]
        pair = log_u + math.log(N - 1) + previous[:-1] - log_m
        following[1:] = np.logaddexp(stay, pair) - log_m
        previous, current = current, following
        if N % d == 0 and N // d >= 2:
            t = N // d
            terms.append(_log_binomial(n, t) + _log_sum(current + ways) + t * distinct)
    return np.array(terms)


def _log_sum(logs: NDArray[np.float64]) -> float:
    total: Any = logsumexp(logs)
    return float(total)


def _log_binomial(a, b):
    return gammaln(np.asarray(a) + 1.0) - gammaln(np.asarray(b) + 1.0) - gammaln(np.asarray(a) - np.asarray(b) + 1.0)


def expected_deficit(m: int, d: int, size: float) -> float:
    """Mean of 1 - |N(S)| / (d |S|) over independent uniform d-subsets of m rows: the collisions of random supports.

    Args:
        m, d: rows, nonzeros a column.
        size: |S|; a mean size may be fractional.
    """
    return 1 - m * (1 - (1 - d / m) ** size) / (d * size)
