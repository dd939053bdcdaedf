"""The agreement decoder (l0 decoding) and peeling, exactly, for checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from expander_theory.base import require, require_choice, require_int
from expander_theory.masks import Mask

Rational = int | Fraction
Test = Literal["agreement", "decrease"]


# ---- the decoder


@dataclass(frozen=True)
class Decoding:
    """What :func:`agreement_decode` did.

    Attributes:
        code: x, length n.
        updates: (column, value added) in order.
        rounds: rounds that changed something.
        solved: the residual vanished.
    """

    code: tuple[Fraction, ...]
    updates: tuple[tuple[int, Fraction], ...]
    rounds: int
    solved: bool


def agreement_decode(
    mask: Mask,
    values: Sequence[Sequence[Rational]],
    h: Sequence[Rational],
    a: int,
    *,
    parallel: bool = True,
    test: Test = "agreement",
) -> Decoding:
    """The agreement decoder of THEORY.md section D, in exact rationals: slow, for small masks.

    A column whose rows hold at least a equal nonzero ratios r_i/w_ij, r the residual, gets that value added (the
    most frequent; among equally frequent ones that of the first row). It stops when the residual is 0, when a round
    changes nothing, or after n rounds: a decoder that makes no mistakes needs no more.

    Args:
        values: (n, d) nonzero rationals, ``values[j][i]`` in row ``mask.rows[j, i]``.
        h: the activation, m rationals.
        a: how many rows must agree, at least 1.
        parallel: all columns of a round look at the same residual; otherwise columns take turns 0..n-1 and each
            sees what the one before left.
        test: "agreement"; or "decrease": a column is updated if the number of nonzero entries of r falls by at
            least a (the test of Mendoza-Smith and Tanner 2017, as recalled).

    Raises:
        InvalidArgument: wrong lengths, a zero value, a below 1, or an unknown test.
    """
    a = require_int("a", a)
    require(a >= 1, "a", a, "must be at least 1")
    require_choice("test", test, ("agreement", "decrease"))
    require(len(h) == mask.m, "h", f"of length {len(h)}", f"must have length m = {mask.m}")
    w = [[Fraction(v) for v in column] for column in values]
    require(
        len(w) == mask.n and all(len(column) == mask.d and all(column) for column in w),
        "values", "array", f"must be (n, d) = ({mask.n}, {mask.d}) nonzero rationals",
    )  # fmt: skip
    rows = mask.rows.tolist()
    residual = [Fraction(v) for v in h]
    code = [Fraction(0)] * mask.n
    updates: list[tuple[int, Fraction]] = []
    rounds = 0

    def apply(j: int, value: Fraction) -> None:
        code[j] += value
        updates.append((j, value))
        for i, entry in zip(rows[j], w[j], strict=True):
            residual[i] -= value * entry

    while rounds < mask.n and any(residual):
        before = len(updates)
        found = []
        for j in range(mask.n):
            value = _agreed([residual[i] for i in rows[j]], w[j], a, test)
            if value is not None and parallel:
                found.append((j, value))
            elif value is not None:
                apply(j, value)
        for j, value in found:
            apply(j, value)
        if len(updates) == before:
            break
        rounds += 1
    return Decoding(tuple(code), tuple(updates), rounds, not any(residual))


def _agreed(residual: list[Fraction], weights: list[Fraction], a: int, test: Test) -> Fraction | None:
    """The value that a column would add, or None."""
    votes = Counter(r / w for r, w in zip(residual, weights, strict=True) if r)
    if not votes:
        return None
    value, count = votes.most_common(1)[0]
    if test == "decrease":
        count -= residual.count(Fraction(0))  # rows that were 0 no longer are
    return value if count >= a else None


def is_peelable(mask: Mask, support: Iterable[int], a: int = 2) -> bool:
    """Whether every nonempty U inside the support has a column with at least a rows that no other column of U meets.

    Decided by peeling: such columns are removed as long as there are any (in any order; THEORY.md, corrections to
    L0-1). For a = 1 the unpeelable sets are those that contain a stopping set.

    Raises:
        InvalidArgument: a below 1, or a support that is not a set of columns.
    """
    a = require_int("a", a)
    require(a >= 1, "a", a, "must be at least 1")
    left = [require_int("support", j) for j in support]
    known = len(set(left)) == len(left) and all(0 <= j < mask.n for j in left)
    require(known, "support", left, f"must hold different columns in 0..{mask.n - 1}")
    return left_by_peeling(mask.m, mask.rows[left], a) == 0


def left_by_peeling(m: int, rows: np.ndarray, a: int) -> int:
    """How many of the columns (one a row of ``rows``) peeling leaves."""
    while len(rows):
        met = np.bincount(rows.ravel(), minlength=m)
        stays = (met[rows] == 1).sum(axis=1) < a
        if stays.all():
            break
        rows = rows[stays]
    return len(rows)


def activation(mask: Mask, values: Sequence[Sequence[Rational]], code: Sequence[Rational]) -> list[Fraction]:
    h = [Fraction(0)] * mask.m
    for j, x in enumerate(code):
        for i, w in zip(mask.rows[j].tolist(), values[j], strict=True):
            h[i] += x * w
    return h


def wrong_updates(decoding: Decoding, code: Sequence[Rational]) -> int:
    """Updates that did not put a column at its true value, from 0."""
    first = {j: value for j, value in reversed(decoding.updates)}
    return len(decoding.updates) - sum(value == code[j] != 0 for j, value in first.items())


def recovered(decoding: Decoding, code: Sequence[Rational]) -> bool:
    return list(decoding.code) == [Fraction(x) for x in code]
