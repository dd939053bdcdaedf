"""Which sizes (m, n, d) the explicit masks have: from their orders, near a wish, and why not a given one."""

import math
from collections.abc import Callable, Iterator

from expander_theory.base import InvalidArgument, require, require_int
from expander_theory.masks.algebraic import require_polynomial
from expander_theory.masks.fields import LARGEST_FIELD, is_prime_power, prime_powers

Sizes = tuple[int, int, int]

LARGEST_PLANE = 1024
LARGEST_QUADRANGLE = 8192  # rows: their collinearity is held as a square array
MOST_ENTRIES = 2**27
_LARGEST_COMPLETE = 2**17  # C(m, 2) is beyond 2^31 from here on


def orders_near(wish: float, suits: Callable[[int], bool], least: int = 2, most: int = LARGEST_FIELD) -> list[int]:
    """The greatest order up to the wish and the least one beyond it that suit; one or none where there is no other."""
    middle = min(max(math.floor(wish), least - 1), most)
    below = next((q for q in range(middle, least - 1, -1) if suits(q)), None)
    above = next((q for q in range(middle + 1, most + 1) if suits(q)), None)
    return [q for q in (below, above) if q is not None]


# ---- polynomial masks, m = d q


def polynomial_terms(q: int, n: int) -> int:
    """Fewest coefficients that give n polynomials over GF(q)."""
    r = 1
    while q**r < n:
        r += 1
    return r


def polynomial_sizes(*, q: int, d: int, r: int, n: int | None) -> Sizes:
    """Sizes of the mask of the first n polynomials (all where n is None) with r coefficients."""
    require_polynomial(q, d, r, n)
    return d * q, q**r if n is None else n, d


def require_polynomial_sizes(m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless some polynomial mask has these sizes."""
    require(m % d == 0, "m", m, f"must be d q = {d} q for the family polynomial")
    q = m // d
    require(is_prime_power(q), "m", m, f"must be d q = {d} q, q a prime power, for a polynomial mask")
    require_polynomial(q, d, polynomial_terms(q, n), n)


def polynomial_near(m: int, n: int, d: int) -> Iterator[Sizes]:
    """Sizes of polynomial masks near these."""
    for q in orders_near(m / d, is_prime_power, max(2, d - 1)):
        yield d * q, min(n, q**d), d


# ---- Euler squares, m = d q


def euler_order(q: int, d: int) -> bool:
    """Whether there are so many orthogonal Latin squares of order q by MacNeish's product that d is possible."""
    return q >= 2 and 2 <= d <= min(prime_powers(q)) + 1 and q * q * d <= MOST_ENTRIES


def euler_sizes(*, q: int, d: int) -> Sizes:
    """Sizes of the whole Euler square."""
    q, d = require_int("q", q), require_int("d", d)
    require(q >= 2, "q", q, "must be at least 2")
    most = min(prime_powers(q)) + 1
    require(2 <= d <= most, "d", d, f"must be between 2 and {most}, the least prime power p^e of q = {q} plus 1")
    require(q * q * d <= MOST_ENTRIES, "q", q, f"gives {q * q * d} entries, more than {MOST_ENTRIES}")
    return d * q, q * q, d


def partial_euler_sizes(*, q: int, d: int, n: int) -> Sizes:
    """Sizes of n columns of an Euler square."""
    m, _, _ = euler_sizes(q=q, d=d)
    return m, n, d


def require_euler_sizes(m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless the whole Euler square of order m/d has these sizes."""
    _require_exactly("euler-square", m, n, d, [_euler("euler-square", m, d)])


def require_partial_euler_sizes(m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless the Euler square of order m/d has at least n columns."""
    _, columns, _ = _euler("partial-euler-square", m, d)
    require(n <= columns, "n", n, f"must be at most q^2 = {columns}, the columns of the Euler square of order m/d")


def euler_near(m: int, n: int, d: int) -> Iterator[Sizes]:
    """Sizes of Euler squares near these."""
    most = math.isqrt(MOST_ENTRIES // d)
    for q in orders_near(m / d, lambda q: euler_order(q, d), max(2, d - 1), most) if d >= 2 else ():
        yield d * q, q * q, d


def partial_euler_near(m: int, n: int, d: int) -> Iterator[Sizes]:
    """Sizes of parts of Euler squares near these."""
    for rows, columns, _ in euler_near(m, n, d):
        yield rows, min(n, columns), d


def _euler(family: str, m: int, d: int) -> Sizes:
    require(m % d == 0, "m", m, f"must be d q = {d} q for the family {family}")
    q = m // d
    most = min(prime_powers(q)) + 1 if q > 1 else 0
    allowed = f"must be between 2 and the least prime power in q = m/d = {q} plus 1, {most}"
    require(2 <= d <= most, "d", d, allowed)
    require(q * q * d <= MOST_ENTRIES, "m", m, f"gives {q * q * d} entries, more than {MOST_ENTRIES}")
    return m, q * q, d


# ---- planes and quadrangles, d = q or q + 1


def require_order(q: int) -> int:
    """q as a plain int, or :class:`InvalidArgument` if it is no order of a plane that is supported."""
    q = require_int("q", q)
    known = q <= LARGEST_PLANE and is_prime_power(q)
    require(known, "q", q, f"must be a prime power (2, 3, 4, 5, 7, 8, 9, 11, ...), at most {LARGEST_PLANE}")
    return q


def affine_sizes(*, q: int) -> Sizes:
    """Sizes of the affine plane of order q."""
    q = require_order(q)
    return q * q, q * q + q, q


def projective_sizes(*, q: int) -> Sizes:
    """Sizes of the projective plane of order q."""
    q = require_order(q)
    return q * q + q + 1, q * q + q + 1, q + 1


def quadrangle_sizes(*, s: int, t: int) -> Sizes:
    """Sizes of the generalised quadrangle GQ(s, t)."""
    s, t = require_int("s", s), require_int("t", t)
    require(is_prime_power(s), "s", s, "must be a prime power (2, 3, 4, 5, 7, 8, 9, ...)")
    require(t in (s, s * s), "t", t, f"must be s = {s} or s^2 = {s * s}")
    m = (s + 1) * (s * t + 1)
    require(m <= LARGEST_QUADRANGLE, "s", s, f"gives m = {m} rows for t = {t}, more than {LARGEST_QUADRANGLE}")
    return m, (t + 1) * (s * t + 1), s + 1


def require_affine_sizes(m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless an affine plane has these sizes."""
    _require_degree("affine-plane", "d", d, d, LARGEST_PLANE)
    _require_exactly("affine-plane", m, n, d, [affine_sizes(q=d)])


def require_projective_sizes(m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless a projective plane has these sizes."""
    _require_degree("projective-plane", "d - 1", d, d - 1, LARGEST_PLANE)
    _require_exactly("projective-plane", m, n, d, [projective_sizes(q=d - 1)])


def require_quadrangle_sizes(m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless a classical generalised quadrangle has these sizes."""
    _require_degree("generalised-quadrangle", "d - 1", d, d - 1)
    possible = _quadrangles(d - 1)
    allowed = f"gives more than {LARGEST_QUADRANGLE} rows for the family generalised-quadrangle"
    require(bool(possible), "d", d, allowed)
    _require_exactly("generalised-quadrangle", m, n, d, possible)


def affine_near(m: int, n: int, d: int) -> Iterator[Sizes]:
    """Sizes of affine planes near these."""
    for q in orders_near(d, is_prime_power, most=LARGEST_PLANE):
        yield affine_sizes(q=q)


def projective_near(m: int, n: int, d: int) -> Iterator[Sizes]:
    """Sizes of projective planes near these."""
    for q in orders_near(d - 1, is_prime_power, most=LARGEST_PLANE):
        yield projective_sizes(q=q)


def quadrangle_near(m: int, n: int, d: int) -> Iterator[Sizes]:
    """Sizes of generalised quadrangles near these."""
    for s in orders_near(d - 1, lambda s: is_prime_power(s) and bool(_quadrangles(s)), most=LARGEST_QUADRANGLE):
        yield from _quadrangles(s)


def _quadrangles(s: int) -> list[Sizes]:
    small = (t for t in (s, s * s) if (s + 1) * (s * t + 1) <= LARGEST_QUADRANGLE)
    return [quadrangle_sizes(s=s, t=t) for t in small]


# ---- complete graphs and designs


def graph_sizes(*, v: int) -> Sizes:
    """Sizes of the complete graph on v vertices."""
    v = require_int("v", v)
    require(v >= 2, "v", v, "must be at least 2")
    require(v * (v - 1) <= MOST_ENTRIES, "v", v, f"gives {v * (v - 1)} entries, more than {MOST_ENTRIES}")
    return v * (v - 1) // 2, v, v - 1


def require_graph_sizes(m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless the complete graph on d + 1 vertices has these sizes."""
    allowed = f"gives {d * (d + 1)} entries for the family complete-graph, more than {MOST_ENTRIES}"
    require(d * (d + 1) <= MOST_ENTRIES, "d", d, allowed)
    _require_exactly("complete-graph", m, n, d, [graph_sizes(v=d + 1)])


def graph_near(m: int, n: int, d: int) -> Iterator[Sizes]:
    """Sizes of complete graphs near these."""
    for v in dict.fromkeys((d + 1, max(2, n))):
        if v * (v - 1) <= MOST_ENTRIES:
            yield graph_sizes(v=v)


def complete_design_sizes(*, m: int, d: int) -> Sizes:
    """Sizes of the mask of all d-subsets of m rows."""
    m, d = require_int("m", m), require_int("d", d)
    require(1 <= d <= m, "d", d, f"must be between 1 and m = {m}")
    n = math.comb(m, d) if m <= _LARGEST_COMPLETE or d in (1, m) else 2**31  # of more rows none can be made
    shown = n if n < 2**31 else f"C(m, d) = C({m}, {d})"
    require(n * d <= MOST_ENTRIES, "m", m, f"gives {shown} columns of {d} rows, more than {MOST_ENTRIES} entries")
    return m, n, d


def require_complete_design_sizes(m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless n is the number of all d-subsets of m rows."""
    try:
        sizes = complete_design_sizes(m=m, d=d)
    except InvalidArgument as error:
        if n * d > MOST_ENTRIES:
            raise
        allowed = f"must be C(m, d) = C({m}, {d}) for the family complete-design: m {error.allowed}"
        raise InvalidArgument("n", n, allowed) from None
    _require_exactly("complete-design", m, n, d, [sizes])


def complete_design_near(m: int, n: int, d: int) -> Iterator[Sizes]:
    """The complete designs on so many rows, and those with the nearest numbers of columns."""

    def columns(rows: int) -> int:
        return math.comb(rows, d)

    rows = d
    while columns(rows + 1) <= n and rows < _LARGEST_COMPLETE:
        rows += 1
    for some in dict.fromkeys((m, rows, rows + 1)):
        if d <= some <= _LARGEST_COMPLETE and columns(some) * d <= MOST_ENTRIES:
            yield some, columns(some), d


# ---- errors


def _require_degree(family: str, order: str, d: int, q: int, most: int = LARGEST_FIELD) -> None:
    allowed = f"the order {order} = {q} of the family {family} must be a prime power"
    require(is_prime_power(q), "d", d, allowed)
    require(q <= most, "d", d, f"{allowed}, at most {most}")


def _require_exactly(family: str, m: int, n: int, d: int, possible: list[Sizes]) -> None:
    rows = " or ".join(str(size[0]) for size in possible)
    require(m in [size[0] for size in possible], "m", m, f"must be {rows} for the family {family} with d = {d}")
    columns = next(size[1] for size in possible if size[0] == m)
    require(n == columns, "n", n, f"must be {columns} for the family {family} with m = {m} and d = {d}")
