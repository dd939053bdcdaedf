"""Explicit masks from finite geometry and combinatorics, with known answers (THEORY.md EXP-9, EXP-10)."""

from functools import reduce
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import Seed, generator, require
from expander_theory.masks.algebraic import polynomial_mask
from expander_theory.masks.fields import FiniteField, field, prime_powers
from expander_theory.masks.mask import Mask
from expander_theory.masks.random import require_sizes
from expander_theory.masks.sizes import (
    complete_design_sizes,
    euler_sizes,
    graph_sizes,
    quadrangle_sizes,
    require_order,
    require_partial_euler_sizes,
)


def affine_plane_mask(q: int) -> Mask:
    """The affine plane AG(2, q), lines as columns: m = q^2, n = q^2 + q, d = q.

    Row x q + y is the point (x, y). Column a q + b is the line y = a x + b, column q^2 + c the line
    x = c. Two columns share one row, or none where they are parallel; every row has degree q + 1.

    Raises:
        InvalidArgument: q is no prime power, or above 1024.
    """
    q = require_order(q)
    vertical = np.arange(q * q, dtype=np.int32).reshape(q, q)
    return Mask(q * q, np.concatenate([polynomial_mask(q, q).rows, vertical]), f"affine plane(q={q})")


def projective_plane_mask(q: int) -> Mask:
    """The projective plane PG(2, q), lines as columns: m = n = q^2 + q + 1, d = q + 1.

    The affine plane, each line with the point at infinity of its slope (row q^2 + a, or q^2 + q
    for x = c), and the line at infinity as last column. Every two columns share exactly one row,
    every two rows exactly one column. Smallest stopping set: at least q + 2 columns (EXP-10),
    reached for even q (dual hyperovals).

    Raises:
        InvalidArgument: q is no prime power, or above 1024.
    """
    affine = affine_plane_mask(q)
    q = affine.d
    infinity = np.arange(q * q, q * q + q + 1, dtype=np.int32)
    lines = np.column_stack([affine.rows, np.repeat(infinity, q)])
    return Mask(q * q + q + 1, np.concatenate([lines, infinity[None]]), f"projective plane(q={q})")


def generalised_quadrangle_mask(s: int = 2, t: int = 4) -> Mask:
    """A classical generalised quadrangle GQ(s, t), t = s or s^2, lines as columns.

    m = (s+1)(st+1) rows of degree t + 1, n = (t+1)(st+1) columns, d = s + 1. Two columns share at
    most one row, and for every row off a column exactly one column joins it to a row of that
    column: there are no triangles, the girth is 8, and stopping sets have at least 2d columns
    (EXP-10; exactly 2d in GQ(2, 4)). t = s: the points and isotropic lines of a symplectic form
    on PG(3, s). t = s^2: the points and lines of the elliptic quadric in PG(5, s).
    Source: Payne and Thas, "Finite generalized quadrangles".

    Raises:
        InvalidArgument: s is no prime power, t neither s nor s^2, or m above 8192.
    """
    m, _, _ = quadrangle_sizes(s=s, t=t)
    points, bilinear = _symplectic(field(s)) if t == s else _elliptic(field(s))
    dual = field(s).matmul(bilinear, points.T)
    collinear = np.concatenate([field(s).matmul(some, dual) == 0 for some in np.array_split(points, m // 512 + 1)])
    return Mask(m, _lines(collinear), f"generalised quadrangle(s={s}, t={t})")


def _symplectic(field: FiniteField) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The points of PG(3, s), and the matrix of x0 y1 - x1 y0 + x2 y3 - x3 y2."""
    form = np.zeros((4, 4), np.int64)
    form[0, 1] = form[2, 3] = 1
    return _projective_points(field.order, 4), field.add(form, field.negative(form.T))


def _elliptic(field: FiniteField) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The points of the elliptic quadric x0 x1 + x2 x3 + f(x4, x5) = 0 in PG(5, s), and the matrix of its polar form.

    It is elliptic where the binary form f has no zero: x4^2 + b x4 x5 + c x5^2, the first such b and c.
    """
    x = np.arange(field.order)
    squares = field.multiply(x, x)
    b, c = next((b, c) for b in x for c in x if np.all(field.add(squares, field.add(field.multiply(b, x), c))))
    form = np.zeros((6, 6), np.int64)
    form[0, 1] = form[2, 3] = 1
    form[4, 4], form[4, 5], form[5, 5] = 1, b, c
    points = _projective_points(field.order, 6)
    values = reduce(field.add, field.multiply(field.matmul(points, form), points).T)
    return points[values == 0], field.add(form, form.T)


def _projective_points(q: int, dimension: int) -> NDArray[np.int64]:
    """The vectors of GF(q)^dimension whose first nonzero entry is 1: one for each point."""
    blocks = []
    for free in range(dimension):
        tails = np.indices((q,) * free).reshape(free, q**free).T
        block = np.zeros((q**free, dimension), np.int64)
        block[:, dimension - free - 1] = 1
        block[:, dimension - free :] = tails
        blocks.append(block)
    return np.concatenate(blocks)


def _lines(collinear: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The lines of a geometry without triangles: two collinear points p, q are on the line p^perp cap q^perp."""
    lines = []
    for p in range(len(collinear)):
        left = collinear[p].copy()
        left[p] = False
        while left.any():
            line = np.nonzero(collinear[p] & collinear[np.argmax(left)])[0]
            left[line] = False
            if line[0] == p:
                lines.append(line)
    return np.array(lines, np.int32)


def complete_graph_mask(v: int) -> Mask:
    """The complete graph K_v: rows are its edges, columns its vertices; m = v(v-1)/2, n = v, d = v - 1.

    Every two columns share exactly one row, every row has degree 2, coll(S) = |S|(|S|-1)/2: the
    pairwise certificates of THEORY.md EXP-3(a) are exact. The only stopping set is all v = d + 1 columns.

    Raises:
        InvalidArgument: v below 2, or more than 2^27 entries.
    """
    m, v, _ = graph_sizes(v=v)
    ends = np.concatenate(np.triu_indices(v, 1))
    edges = np.argsort(ends, kind="stable").reshape(v, v - 1) % m
    return Mask(m, np.sort(edges, axis=1).astype(np.int32), f"complete graph(v={v})")


def euler_square_mask(q: int, d: int) -> Mask:
    """The mask of d - 2 mutually orthogonal Latin squares of order q, any q >= 2: m = d q, n = q^2.

    MacNeish's product of the polynomial masks over the prime powers p^e of q: row (i, (v_1, v_2, ...))
    is met by a product of columns if row (i, v_1), row (i, v_2), ... are met by its parts. Two columns
    share at most one row; every row has degree q. Equal to ``polynomial_mask(q, d)`` for a prime power.

    Raises:
        InvalidArgument: q below 2, or d not in 2..min p^e + 1.
    """
    m, _, d = euler_sizes(q=q, d=d)
    q = m // d
    values = np.zeros((1, d), np.int64)
    for order in prime_powers(q):
        factor = polynomial_mask(order, d).rows - order * np.arange(d)
        values = (values[:, None] * order + factor).reshape(-1, d)
    return Mask(m, values + q * np.arange(d), f"euler square(q={q}, d={d})")


def partial_euler_square_mask(m: int, n: int, d: int, *, seed: Seed) -> Mask:
    """n different columns of ``euler_square_mask(m / d, d)``, at random and in random order.

    For sizes n that no whole Euler square has: two columns still share at most one row.

    Raises:
        InvalidArgument: a size out of range, m no multiple of d, no Euler square of order m / d and degree d, or n
            above its (m / d)^2 columns.
    """
    m, n, d = require_sizes(m, n, d)
    require_partial_euler_sizes(m, n, d)
    whole = euler_square_mask(m // d, d)
    chosen = generator(seed, "columns of an Euler square mask").choice(whole.n, n, replace=False)
    seeded = f", seed={seed}" if isinstance(seed, int) else ""
    return Mask(m, whole.rows[chosen], f"{n} columns of {whole.recipe}{seeded}")


def complete_design_mask(m: int, d: int) -> Mask:
    """All C(m, d) d-subsets of the m rows as columns, in lexicographic order.

    The largest mask without equal columns: min |N(S)| over |S| = s is the least u with C(u, d) >= s.

    Raises:
        InvalidArgument: d outside 1..m, or more than 2^27 entries.
    """
    m, n, d = complete_design_sizes(m=m, d=d)
    entries = chain.from_iterable(combinations(range(m), d))
    return Mask(m, np.fromiter(entries, np.int32, n * d).reshape(n, d), f"complete design(m={m}, d={d})")


def disjoint_union(*masks: Mask) -> Mask:
    """The masks side by side on rows of their own: block-diagonal, m and n are the sums.

    Collisions add: coll(S) is the sum of those of its parts.

    Raises:
        InvalidArgument: no mask, or left degrees that differ.
    """
    require(len(masks) > 0, "masks", "none", "must be at least one mask")
    degrees = sorted({mask.d for mask in masks})
    require(len(degrees) == 1, "d", degrees, "must be the same for all masks")
    first = np.cumsum([0] + [mask.m for mask in masks])
    rows = np.concatenate([mask.rows + start for mask, start in zip(masks, first[:-1], strict=True)])
    return Mask(int(first[-1]), rows, f"disjoint union({', '.join(mask.recipe for mask in masks)})")
