"""Explicit masks with guaranteed column overlap (THEORY.md EXP-9)."""

import numpy as np

from expander_theory.errors import require
from expander_theory.masks.mask import Mask


def require_polynomial(q: int, d: int, r: int, n: int) -> None:
    """Raise :class:`InvalidArgument` unless :func:`polynomial_mask` has these parameters."""
    require(2 <= q <= 2**16, "q", q, "must be a prime power between 2 and 65536")
    import galois

    require(galois.is_prime_power(q), "q", q, "must be a prime power (2, 3, 4, 5, 7, 8, 9, 11, ...)")
    require(1 <= d <= q + 1, "d", d, f"must be between 1 and q + 1 = {q + 1}")
    require(1 <= r <= d, "r", r, f"must be between 1 and d = {d}")
    require(1 <= n <= q**r, "n", n, f"must be between 1 and q^r = {q}^{r} = {q**r} for this construction")
    require(n * d <= 2**31, "n", n, f"n d = {n * d} values are too many: choose a smaller n")


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
    columns = q**r if n is None else n
    require_polynomial(q, d, r, columns)
    import galois

    field = galois.GF(q)
    # Digits of the column's index in base q are the coefficients, constant term first, so the
    # first q^s columns are the polynomials of degree < s.
    coefficients = np.arange(columns)[:, None] // q ** np.arange(r) % q
    values = np.empty((columns, d), np.int64)
    for p in range(min(d, q)):
        point, value = field(p), field.Zeros(columns)
        for c in range(r - 1, -1, -1):
            value = value * point + field(coefficients[:, c])
        values[:, p] = np.asarray(value)
    if d == q + 1:
        values[:, q] = coefficients[:, r - 1]
    rows = values + q * np.arange(d)
    return Mask(d * q, rows, f"polynomial(q={q}, d={d}, r={r}, n={columns})")
