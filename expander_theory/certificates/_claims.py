"""The theorems that a certificate draws on, as exact conditions on its facts (FORMAT.md: claims).

Every condition is ``left(k) < right(k)`` in rationals, monotone in k: what holds at k holds below it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from expander_theory.dictionaries import consecutive_sums

HALF = Fraction(1, 2)


class FactsEnd(Exception):
    """A condition needs a size for which the certificate gives no bound."""


@dataclass(frozen=True)
class Facts:
    """What the conditions are about. ``refusals`` gives, by requirement, why it is not met (None if it is).

    Attributes:
        losses: U_1, U_2, ..., U_T.
        gram: A_0, A_1, ..., A_K.
        least_norm: N_min, the least squared norm of a column.
        r: the dynamic range.
    """

    n: int
    d: int
    losses: list[int]
    gram: list[Fraction]
    least_norm: Fraction
    c_squared: Fraction
    beta: Fraction
    overlap: int
    triangle_free: bool | None
    r: Fraction
    refusals: dict[str, str | None]

    def e(self, size: int) -> Fraction:
        """E(size), an upper bound of eps_size."""
        size = min(size, self.n)
        bound = max(Fraction(loss, self.d * t) for t, loss in enumerate(self.losses[:size], 1))
        if size > len(self.losses) and bound < HALF:
            raise FactsEnd
        return bound

    def a(self, count: int) -> Fraction:
        """A_count, the largest sum of so many moduli of inner products with one column."""
        count = min(count, self.n - 1)
        if count >= len(self.gram) and self.gram[-1] < self.least_norm:
            raise FactsEnd
        return self.gram[min(count, len(self.gram) - 1)]

    @property
    def stopping_distance(self) -> int:
        """D_0: every stopping set has at least so many columns (EXP-10; overlap at most 1)."""
        if self.overlap == 0:
            return self.n + 1
        return 2 * self.d if self.triangle_free and self.d >= 2 else self.d + 1


@dataclass(frozen=True)
class Claim:
    """A theorem of THEORY.md: for every k with ``left < right`` it states ``states``.

    Attributes:
        sides: left and right at k; raises FactsEnd where the facts end.
        requires: keys of ``Facts.refusals``, in the order in which they are reported.
    """

    theorem: str
    goal: str
    states: str
    sides: Callable[[Facts, int], tuple[Fraction | int, Fraction | int]]
    requires: tuple[str, ...] = ()

    @property
    def maskless(self) -> bool:
        """Whether the theorem is about norms and inner products alone, so that it needs no mask."""
        return self.theorem in ("STAB-3", "OMP-2", "OMP-3", "OMP-7u", "TOPK-1", "L1-ERC")

    def entry(self, facts: Facts) -> dict[str, Any]:
        """The claim as a certificate has it: the largest k, the two sides there and at k + 1."""
        reasons = [facts.refusals[need] for need in self.requires]
        refused = next((reason for reason in reasons if reason is not None), None)
        k = 0 if refused else self._largest(facts)
        return {
            "theorem": self.theorem,
            "goal": self.goal,
            "states": self.states,
            "k": k,
            "at_k": self._shown(facts, k) if k else None,
            "at_next": self._shown(facts, k + 1) if not refused and k < facts.n else None,
            "refused": refused,
        }

    def _largest(self, facts: Facts) -> int:
        low, high = 0, facts.n  # the condition holds at low (or low = 0), and nowhere above high
        while low < high:
            k = (low + high + 1) // 2
            low, high = (k, high) if self._holds(facts, k) else (low, k - 1)
        return low

    def _holds(self, facts: Facts, k: int) -> bool:
        try:
            left, right = self.sides(facts, k)
        except FactsEnd:
            return False
        return left < right

    def _shown(self, facts: Facts, k: int) -> dict[str, str] | None:
        try:
            left, right = self.sides(facts, k)
        except FactsEnd:
            return None
        return {"left": str(left), "right": str(right), "slack": str(right - left)}


def _unit_column_threshold(k: int) -> Fraction:
    """c_k^2 of OMP-7u."""
    return Fraction(4, k + 4) ** 2 if k < 4 else Fraction(1, k)


_FULL, _UNIT = ("full mask",), ("unit columns",)

_UNIQUE = "every k-sparse code is the only k-sparse code of its activation"
_OMP = "OMP recovers every k-sparse code, whatever its coefficients"
_OMP_SCALED = f"{_OMP}, once columns are scaled to exactly unit norm"
_TOPK = "the tied TopK encoder finds support and signs of every k-sparse code of this dynamic range"
_L1 = "l1 minimisation weighted by ||w_j||_1 recovers every k-sparse code"
_PLAIN_L1 = "l1 minimisation recovers every k-sparse code"
_TWO_ROWS = (
    "for almost all values on this mask and almost all codes, agreement of two rows decodes every k-sparse support"
)
_DISTINCT_SUMS = "l0 decoding recovers every k-sparse code whose subset sums are distinct"
_MEDIAN = "the median encoder returns every k-sparse code exactly"

_ID, _L0 = "identifiability", "l0 decoding"

CLAIMS = (
    Claim("IDN-1", _ID, _UNIQUE, lambda f, k: (f.e(2 * k), HALF), _FULL),
    Claim("EXP-10", _ID, _UNIQUE, lambda f, k: (2 * k, f.stopping_distance), (*_FULL, "o <= 1")),
    Claim("IDN-1z", _ID, _UNIQUE, lambda f, k: (2 * f.c_squared * f.e(2 * k), 1)),
    Claim("STAB-3", _ID, _UNIQUE, lambda f, k: (f.a(2 * k - 1), f.least_norm)),
    Claim("OMP-2", "OMP", _OMP, lambda f, k: ((2 * k - 1) * f.a(1), f.least_norm), _UNIT),
    Claim("OMP-3", "OMP", _OMP, lambda f, k: (consecutive_sums(f.a, k), f.least_norm), _UNIT),
    Claim("OMP-5", "OMP", _OMP_SCALED, lambda f, k: (f.c_squared * ((k + 1) * f.e(k + 1) + k * f.e(k)), 1), _UNIT),
    Claim("OMP-7u", "OMP", _OMP_SCALED, lambda f, k: ((f.a(k) / f.least_norm) ** 2, _unit_column_threshold(k)), _UNIT),
    Claim("PAPER-OMP", "OMP", _OMP_SCALED, lambda f, k: (f.c_squared * (2 * k + 1) * f.e(k + 1), 1), _UNIT),
    Claim("TOPK-1", "TopK encoder", _TOPK, lambda f, k: (f.r * consecutive_sums(f.a, k), f.least_norm), _UNIT),
    Claim("NSP-2", "l1", _L1, lambda f, k: (f.beta * f.e(2 * k), Fraction(1, 4))),
    Claim("L1-ERC", "l1", _PLAIN_L1, lambda f, k: (consecutive_sums(f.a, k), f.least_norm)),
    Claim("L0-1", _L0, _TWO_ROWS, lambda f, k: (f.e(k), (1 - Fraction(1, f.d)) / 2), _FULL),
    Claim("L0-2", _L0, _DISTINCT_SUMS, lambda f, k: (f.overlap, (1 - 2 * f.e(k)) * f.d), ("binary",)),
    Claim("MED-1 overlap", _L0, _MEDIAN, lambda f, k: (f.overlap * k, Fraction(f.d, 2)), _FULL),
    Claim("MED-1 expansion", _L0, _MEDIAN, lambda f, k: ((k + 1) * f.e(k + 1), HALF), _FULL),
)
