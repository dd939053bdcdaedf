"""All subsets of the columns of a small mask at once: neighbourhoods, unique neighbours, exact eps_s."""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import require
from expander_theory.masks import Mask

MAX_N = 16
"""Most columns whose 2^n subsets are tabulated."""


class Subsets:
    """Counts for every set S of columns; S is a bit mask, bit j for column j.

    Attributes:
        size, neighbours, unique: |S|, |N(S)| and |N_1(S)| (rows met exactly once), int64 arrays of 2^n.

    Raises:
        InvalidArgument: more than :data:`MAX_N` columns.
    """

    def __init__(self, mask: Mask) -> None:
        n = mask.n
        require(n <= MAX_N, "n", n, f"must be at most {MAX_N} where every set of columns is enumerated")
        self.n, self.d = n, mask.d
        once = np.zeros((1, mask.m), bool)
        covered = np.zeros((1, mask.m), bool)
        self.size = np.zeros(1, np.int64)
        for rows in mask.rows:  # column j doubles the table: sets without it, then sets with it
            own = np.zeros(mask.m, bool)
            own[rows] = True
            once = np.concatenate([once, (once & ~own) | (own & ~covered)])
            covered = np.concatenate([covered, covered | own])
            self.size = np.concatenate([self.size, self.size + 1])
        self.neighbours = covered.sum(axis=1)
        self.unique = once.sum(axis=1)

    @cached_property
    def losses(self) -> NDArray[np.int64]:
        """coll(S) = d|S| - |N(S)| for every S."""
        return self.d * self.size - self.neighbours

    @cached_property
    def largest_losses(self) -> list[int]:
        """max coll(S) over |S| = t, for t = 0..n."""
        best = np.zeros(self.n + 1, np.int64)
        np.maximum.at(best, self.size, self.losses)
        return [int(loss) for loss in best]

    def eps_at(self, t: int) -> Fraction:
        """eps^=_t: the largest coll(S)/(d t) over sets of exactly t columns (1 <= t <= n)."""
        return Fraction(self.largest_losses[t], self.d * t)

    def eps(self, s: int) -> Fraction:
        """eps_s: the same over all sets of 1..s columns; s > n means n (THEORY.md section 0)."""
        return max(self.eps_at(t) for t in range(1, min(s, self.n) + 1))

    @cached_property
    def stopping_distance(self) -> int:
        """Fewest columns of a nonempty set without unique neighbours; n + 1 if there is none."""
        stopping = self.size[(self.unique == 0) & (self.size > 0)]
        return int(stopping.min()) if stopping.size else self.n + 1
