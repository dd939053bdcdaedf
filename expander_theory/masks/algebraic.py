"""Explicit masks with guaranteed column overlap (THEORY.md EXP-9)."""

import math

import numpy as np

from expander_theory.base import require, require_int
from expander_theory.masks.fields import field, is_prime_power
from expander_theory.masks.mask import Mask


def require_polynomial(q: int, d: int, r: int, n: int | None) -> None:
    """Raise :class:`InvalidArgument` unless :func:`polynomial_mask` has these parameters."""
    require(is_prime_power(q), "q", q, "must be a prime power (2, 3, 4, 5, 7, 8, 9, 11, ...), at most 65536")
    require(1 <= d <= q + 1, "d", d, f"must be between 1 and q + 1 = {q + 1}")
    require(1 <= r <= d, "r", r, f"must be between 1 and d = {d}")
    reachable = q**r if r * math.log2(q) < 63 else None
    shown = f"q^r = {q}^{r}" + (f" = {reachable}" if reachable else "")
    require(n is None or (n >= 1 and (reachable is None or n <= reachable)), "n", n, f"must be between 1 and {shown}")
    columns = reachable if n is None else n
    fits = columns is not None and columns * d <= 2**31
    require(fits, "n", columns or shown, f"n d values with d = {d} are too many (over 2^31): choose a smaller n")


def polynomial_mask(q: int, d: int, *, r: int = 2, n: int | None = None) -> Mask:
    """The polynomial (Reed-Solomon) mask over GF(q): m = d q rows, up to q^r columns.

    Column f, a polynomial of degree < r, meets row (p, f(alpha_p)) in each of d blocks of q
    rows. Two distinct polynomials agree in at most r - 1 points, so any two columns share at
    most r - 1 rows (DeVore 2007; THEORY.md EXP-9). d = q + 1 adds the point at infinity.

    Args:
        q: order of the field, a prime power.
        d: left degree, r <= d <= q + 1.
        r: number of coefficients; overlap is at most r - 1.
        n: number of columns, the first n polynomials in lexicographic order (default all q^r).

    Raises:
        InvalidArgument: q not a prime power, d or r out of range, n > q^r.
    """
    q, d, r = require_int("q", q), require_int("d", d), require_int("r", r)
    n = None if n is None else require_int("n", n)
    require_polynomial(q, d, r, n)
    columns = q**r if n is None else n
    arithmetic = field(q)
    # Digits of the column's index in base q are the coefficients, constant term first, so the
    # first q^s columns are the polynomials of degree < s.
    coefficients = np.zeros((columns, r), np.int64)
    for c in range(r):
        if q**c < columns:
            coefficients[:, c] = np.arange(columns) // q**c % q
    values = np.empty((columns, d), np.int64)
    for p in range(min(d, q)):
        value = coefficients[:, r - 1]
        for c in range(r - 2, -1, -1):
            value = arithmetic.add(arithmetic.scale(value, p), coefficients[:, c])
        values[:, p] = value
    if d == q + 1:
        values[:, q] = coefficients[:, r - 1]
    rows = values + q * np.arange(d)
    return Mask(d * q, rows, f"polynomial(q={q}, d={d}, r={r}, n={columns})")
