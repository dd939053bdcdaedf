"""Curves from the literature that experiments are drawn against (THEORY.md section E and L0-3).

They are asymptotic, for dense Gaussian dictionaries or random supports: references, never certificates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom, norm

from expander_theory.base import require, require_int

_MAX_LEVEL = 40.0
"""The best soft threshold t is below this for every k/n above 1e-300."""


# ---- REF-1: l1 minimisation


def weak_threshold(density: float, *, signed: bool = True) -> float:
    """psi(r): l1 minimisation with Gaussian measurements succeeds, typically, iff m/n > psi(k/n) (THEORY.md REF-1).

    psi(r) = min_t r (1 + t^2) + (1 - r) c [(1 + t^2) Q(t) - t phi(t)], with c = 2 for signed codes and 1 for
    nonnegative ones; phi and Q are density and upper tail of the standard normal.

    Args:
        density: r = k/n, in [0, 1].
        signed: codes of any sign and plain l1; otherwise nonnegative codes and the constraint x >= 0.

    Returns:
        m/n at the threshold, increasing in r from 0 to 1.

    Raises:
        InvalidArgument: density outside [0, 1].

    Source: Donoho, Tanner 2005-2009; Amelunxen, Lotz, McCoy, Tropp 2014.
    """
    require(0 <= density <= 1, "density", density, "must be in [0, 1]")
    if density in (0, 1):
        return float(density)
    sides = 2 if signed else 1

    def width(t: float) -> float:
        above = math.erfc(t / math.sqrt(2)) / 2
        height = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        return density * (1 + t * t) + (1 - density) * sides * ((1 + t * t) * above - t * height)

    found: Any = minimize_scalar(width, bounds=(0, _MAX_LEVEL), method="bounded", options={"xatol": 1e-10})
    return float(found.fun)


def weak_curve(t: ArrayLike, *, signed: bool = True) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weak threshold as a curve: (m/n, k/m) for parameters t > 0 (Donoho-Tanner's parametric form).

    m/n = c phi / (t + c (phi - t Q)), k/m = 1 - t Q / phi.

    Raises:
        InvalidArgument: a t that is not positive and finite.
    """
    level = np.asarray(t, float)
    require(bool((np.isfinite(level) & (level > 0)).all()), "t", t, "must be positive and finite")
    sides = 2 if signed else 1
    mills = np.exp(norm.logsf(level) - norm.logpdf(level))  # Q / phi, also where both underflow
    density = norm.pdf(level)
    return sides * density / (level + sides * density * (1 - level * mills)), 1 - level * mills


def weak_sparsity(m: int, n: int, *, signed: bool = True) -> float:
    """The k at which n psi(k/n) = m, as a real number; n where m >= n.

    Raises:
        InvalidArgument: m or n below 1.
    """
    m, n = _sizes(m, n)
    if m >= n:
        return float(n)

    def excess(t: float) -> float:
        return float(weak_curve(t, signed=signed)[0]) - m / n

    t: Any = brentq(excess, 1e-12, _MAX_LEVEL, xtol=1e-14)
    return m * float(weak_curve(t, signed=signed)[1])


def weak_half_width(n: int, failure: float) -> float:
    """How far m must be from n psi(k/n) for success or failure with probability 1 - ``failure``: at most
    sqrt(8 n log(4/failure)) (Gaussian measurements; Amelunxen et al. 2014).

    Raises:
        InvalidArgument: n below 1, or failure outside (0, 1).
    """
    n = require_int("n", n)
    require(n >= 1, "n", n, "must be at least 1")
    require(0 < failure < 1, "failure", failure, "must be in (0, 1)")
    return math.sqrt(8 * n * math.log(4 / failure))


# ---- REF-2: OMP; REF-3: thresholding


def omp_measurements(k: float, n: int) -> float:
    """m ~ 2 k ln(n - k): what OMP needs with a Gaussian dictionary (Fletcher, Rangan 2012; THEORY.md REF-2).

    Empirically pessimistic at SAE sizes.

    Raises:
        InvalidArgument: k outside 0 <= k < n.
    """
    _sparsity(k, n)
    return 2 * k * math.log(n - k)


def omp_sparsity(m: float, n: int) -> float:
    """k = m/(2 ln n), the leading term of the k at which :func:`omp_measurements` is m, from below.

    Raises:
        InvalidArgument: m negative or n below 2.
    """
    n = require_int("n", n)
    require(n >= 2, "n", n, "must be at least 2")
    require(m >= 0, "m", m, "must not be negative")
    return m / (2 * math.log(n))


def thresholding_measurements(k: float, n: int, power_ratio: float) -> float:
    """m ~ (2/MAR) k (sqrt ln(n - k) + sqrt ln k)^2: what one-step thresholding needs with a Gaussian dictionary
    without noise (Fletcher, Rangan, Goyal 2009; THEORY.md REF-3).

    Args:
        power_ratio: MAR, the least squared coefficient over the mean one, in (0, 1].

    Raises:
        InvalidArgument: k outside 1 <= k < n, or MAR outside (0, 1].
    """
    _sparsity(k, n)
    require(k >= 1, "k", k, "must be at least 1")
    require(0 < power_ratio <= 1, "power_ratio", power_ratio, "must be in (0, 1]")
    return 2 / power_ratio * k * (math.sqrt(math.log(n - k)) + math.sqrt(math.log(k))) ** 2


# ---- L0-3: peeling


def peeling_step(p: float, load: float, d: int, a: int) -> float:
    """One step of density evolution, p <- P(Bin(d - 1, exp(-load d p)) < a), load = k/m (THEORY.md L0-3)."""
    return float(binom.cdf(a - 1, d - 1, math.exp(-load * d * p)))


def peeling_threshold(d: int, a: int) -> float:
    """k/m below which random supports are typically a-peelable: density evolution from p = 1 falls to 0.

    With F(l) = P(Bin(d - 1, exp(-l)) < a), a positive fixed point p = l/(load d) exists iff load = l/(d F(l)) for
    some l > 0, so the threshold is the minimum of the right side over l.

    Args:
        d: left degree, at least 2.
        a: rows that must be met by nothing else, 1 <= a < d (with a = d it would be 0).

    Raises:
        InvalidArgument: d or a out of range.
    """
    d, a = require_int("d", d), require_int("a", a)
    require(d >= 2, "d", d, "must be at least 2")
    require(1 <= a < d, "a", a, f"must be between 1 and d - 1 = {d - 1}")
    if a == d - 1:  # the minimum is the limit at l = 0, as F(l) = 1 - exp(-(d - 1) l) <= (d - 1) l
        return 1 / (d * (d - 1))

    def load(log_l: float) -> float:
        l = math.exp(log_l)
        return l / (d * float(binom.sf(d - 1 - a, d - 1, -math.expm1(-l))))  # rows met by others: at least d - a

    grid = np.linspace(-12, 4, 161)
    best = int(np.argmin([load(g) for g in grid]))
    bounds = (grid[max(0, best - 1)], grid[min(160, best + 1)])
    found: Any = minimize_scalar(load, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return float(found.fun)


def _sizes(m: int, n: int) -> tuple[int, int]:
    m, n = require_int("m", m), require_int("n", n)
    require(m >= 1, "m", m, "must be at least 1")
    require(n >= 1, "n", n, "must be at least 1")
    return m, n


def _sparsity(k: float, n: int) -> None:
    n = require_int("n", n)
    require(0 <= k < n, "k", k, f"must be in 0 <= k < n = {n}")
