"""What no mask can do: lower bounds on eps (THEORY.md EXP-7), and the paper's count."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from scipy.stats import hypergeom

from expander_theory.base import require, require_int
from expander_theory.masks import Mask


def least_possible_eps(m: int, n: int, d: int, s: int) -> Fraction:
    """A lower bound on eps^=_s of *every* left-d-regular mask of this shape: the best of EXP-7 (a), (b), (c), (d).

    Exact for (a), (b), (c); in (d) the hypergeometric tail is a float, taken a little smaller than it is, which
    can only weaken the bound.

    Raises:
        InvalidArgument: m, n, d or s out of range.
    """
    for name, value in (("m", m), ("n", n), ("d", d), ("s", s)):
        require(require_int(name, value) >= 1, name, value, "must be at least 1")
    require(d <= m, "d", d, f"must be at most m = {m}")
    require(s <= n, "s", s, f"must be at most n = {n}")
    low, extra = divmod(n * d, m)  # balanced rows cover most (convexity)
    degrees = {low: m - extra, low + 1: extra}
    return max(*_by_degrees({D: count for D, count in degrees.items() if count}, m, n, d, s), _crowded(m, n, d, s))


def mask_eps_lower_bound(mask: Mask, s: int) -> Fraction:
    """A lower bound on eps^=_s of this mask: EXP-7 (a), (b), (c) with its own row degrees, and (d).

    Raises:
        InvalidArgument: s outside 1..n.
    """
    s = require_int("s", s)
    require(1 <= s <= mask.n, "s", s, f"must be between 1 and n = {mask.n}")
    degrees, counts = np.unique(mask.row_degrees, return_counts=True)
    found = {int(D): int(count) for D, count in zip(degrees, counts, strict=True)}
    return max(*_by_degrees(found, mask.m, mask.n, mask.d, s), _crowded(mask.m, mask.n, mask.d, s))


def paper_eps_count(m: int, d: int, s: int) -> Fraction:
    """max(0, 1 - m/(ds)), the paper's ``eps_count``: EXP-7 (b).

    Raises:
        InvalidArgument: m, d or s below 1.
    """
    for name, value in (("m", m), ("d", d), ("s", s)):
        require(require_int(name, value) >= 1, name, value, "must be at least 1")
    return max(Fraction(0), 1 - Fraction(m, d * s))


def _by_degrees(degrees: dict[int, int], m: int, n: int, d: int, s: int) -> tuple[Fraction, Fraction, Fraction]:
    total = math.comb(n, s)
    covered = sum((count * (1 - Fraction(math.comb(n - D, s), total)) for D, count in degrees.items()), Fraction(0))
    through_one_row = Fraction(s - 1, d * s) if s <= max(degrees) else Fraction(0)
    return 1 - covered / (d * s), 1 - Fraction(m, d * s), through_one_row


def _crowded(m: int, n: int, d: int, s: int) -> Fraction:
    """EXP-7 (d): some r rows meet s columns at least h times each, so eps^=_s >= h/d - r/(ds)."""
    rows = np.arange(1, m + 1)
    best = Fraction(0)
    for h in range(1, d + 1):
        share = hypergeom.sf(h - 1, m, rows, d) * (1 - 1e-9)
        enough = rows[np.ceil(n * share) >= s]
        if enough.size:
            best = max(best, Fraction(h, d) - Fraction(int(enough[0]), d * s))
    return best
