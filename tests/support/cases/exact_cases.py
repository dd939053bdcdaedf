"""Oracles in rationals for what certificates and proofs say of columns and supports. They share no code with either."""

import hashlib
import itertools
import json
import math
from fractions import Fraction

import numpy as np


def columns_of(dictionary):
    """Columns as lists of rationals."""
    return [[Fraction(float(x)) for x in column] for column in dictionary.to_dense().T]


def inner(a, b):
    return sum((x * y for x, y in zip(a, b, strict=True) if x and y), Fraction(0))


def eliminated(matrix):
    """Reduced rows of a matrix of rationals, and the columns of its pivots."""
    rows, pivots = [list(map(Fraction, row)) for row in matrix], []
    for c in range(len(rows[0]) if rows else 0):
        at = len(pivots)
        pivot = next((r for r in range(at, len(rows)) if rows[r][c]), None)
        if pivot is None:
            continue
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [x / rows[at][c] for x in rows[at]]
        for r in range(len(rows)):
            if r != at and rows[r][c]:
                rows[r] = [x - rows[r][c] * y for x, y in zip(rows[r], rows[at], strict=True)]
        pivots.append(c)
    return rows, pivots


def rank(columns):
    return len(eliminated(columns)[1])


def exact_erc(columns, support):
    """max over j outside of ||(W_S^T W_S)^{-1} W_S^T w_j||_1, 0 if there is none; None if W_S is rank deficient."""
    k, outside = len(support), [j for j in range(len(columns)) if j not in support]
    rows, pivots = eliminated([[inner(columns[i], columns[j]) for j in (*support, *outside)] for i in support])
    if pivots[:k] != list(range(k)):
        return None
    return max((sum(abs(rows[i][k + c]) for i in range(k)) for c in range(len(outside))), default=Fraction(0))


def topk_finds(columns, support, dynamic_range):
    """Whether |<w_i, Wx>| > |<w_j, Wx>| with the sign of x_i, for all signs of x and moduli 1 and the range: the least
    of a linear function over a box is at a corner."""
    outside = [j for j in range(len(columns)) if j not in support]
    score = {(j, l): inner(columns[j], columns[l]) for j in range(len(columns)) for l in support}
    for signs in itertools.product((1, -1), repeat=len(support)):
        for moduli in itertools.product({Fraction(1), Fraction(dynamic_range)}, repeat=len(support)):
            x = [s * a for s, a in zip(signs, moduli, strict=True)]
            c = {j: sum(score[j, l] * v for l, v in zip(support, x, strict=True)) for j in range(len(columns))}
            most = max((abs(c[j]) for j in outside), default=Fraction(-1))
            if any(c[i] * s <= max(most, 0) for i, s in zip(support, signs, strict=True)):
                return False
    return True


def rows_suffice(mask, support):
    """The condition of IDN-5, from its words."""
    rows = [set(map(int, r)) for r in mask.rows]
    d, outside = mask.d, [l for l in range(mask.n) if l not in support]
    o = max((len(a & b) for a, b in itertools.combinations(rows, 2)), default=0)
    met = set().union(*(rows[j] for j in support))
    alone = sorted(len(rows[j] - set().union(*(rows[l] for l in support if l != j))) for j in support)
    if alone[0] == 0:
        return False
    for t in range(1, len(support) + 1):
        able = sorted((h for l in outside if (h := len(rows[l] & met)) >= d - o * (t - 1)), reverse=True)
        if len(able) >= t and sum(alone[:t]) <= sum(able[:t]):
            return False
    return True


def another_code(columns, support, more=0):
    """Columns A in the support and T outside, |T| <= |A| + more, that some kernel vector has as its support: then some
    code on A has another one of its activation with at most |A| + more nonzeros. None if there are none."""
    outside = [l for l in range(len(columns)) if l not in support]
    for a in range(1, len(support) + 1):
        for A in itertools.combinations(support, a):
            for t in range(min(a + more, len(outside)) + 1):
                for T in itertools.combinations(outside, t):
                    chosen = [columns[j] for j in A + T]
                    full = rank(chosen)
                    if full < len(chosen) and all(
                        rank(chosen[:i] + chosen[i + 1 :]) == full for i in range(len(chosen)) if len(chosen) > 1
                    ):
                        return A + T
    return None


def drawn_supports(key, n, k, samples):
    """Supports of SAMPLED.md, word by word."""
    words = _words(key)
    found = []
    for _ in range(samples):
        support = []
        while len(support) < k:
            number = _below(words, n)
            if number not in support:
                support.append(number)
        found.append(sorted(support))
    return found


def drawn_places(key, count, samples):
    words = _words(key)
    return [_below(words, count) for _ in range(samples)]


def _words(key):
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    source = np.random.Philox(key=int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))
    while True:
        yield int(source.random_raw())


def _below(words, bound):
    bits = max(1, math.ceil(math.log2(bound)))
    return next(number for word in words if (number := word >> (64 - bits)) < bound)


def lower_share(count, samples, error):
    """Millionths: the largest a with P(Bin(samples, a / 10^6) >= count) <= error, by trying."""

    def tail(a):
        p = Fraction(a, 10**6)
        return sum(math.comb(samples, i) * p**i * (1 - p) ** (samples - i) for i in range(count, samples + 1))

    low, high = 0, 10**6
    if count == 0:
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tail(middle) <= error else (low, middle)
    return low


def tied_matrices(seed, count, most=6):
    """Small real (m, n) matrices in which much is equal: signs, integers, cosines, halves, copies of columns."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        m, n = int(rng.integers(1, most + 1)), int(rng.integers(1, most + 2))
        kind = i % 6
        if kind == 0:
            w = rng.choice([-1.0, 1.0], (m, n))
        elif kind == 1:
            w = rng.integers(-2, 3, (m, n)).astype(float)
        elif kind == 2:
            w = np.cos(np.pi * (np.arange(m)[:, None] + 0.5) * np.arange(n) / max(n, m))
        elif kind == 3:
            w = np.eye(m, n) + rng.integers(-1, 2, (m, n)) * 0.5
        elif kind == 4:
            w = rng.standard_normal((m, n))
        else:  # columns that almost or wholly repeat
            w = rng.standard_normal((m, n))
            for j in range(1, n):
                if rng.random() < 0.6:
                    w[:, j] = rng.choice([1, -1]) * w[:, rng.integers(j)]
                    w[:, j] += rng.standard_normal(m) * 10.0 ** -rng.integers(3, 20)
        w[0, ~w.any(axis=0)] = 1
        yield w


def unit(matrix):
    """Columns at unit norm, up to rounding."""
    return matrix / np.linalg.norm(matrix, axis=0)
