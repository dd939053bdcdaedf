"""The table of claims of FORMAT.md, written out again by the checker and evaluated on recomputed facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import Any

Sides = Callable[["Known", int], tuple[Fraction | int, Fraction | int]]


class FactsEnd(Exception):
    """A condition asks for a loss or Gram sum past the end of the facts."""


@dataclass(frozen=True)
class Known:
    """What the claims are made of, all of it recomputed.

    Attributes:
        losses: 0, U_1, ..., U_T.
        sums: A_0, ..., A_K.
        refusals: for each requirement that is not met, its text.
    """

    n: int
    d: int
    losses: list[int]
    sums: list[Fraction]
    least: Fraction
    curvature: Fraction
    beta: Fraction
    overlap: int
    triangle_free: bool
    range: Fraction
    refusals: dict[str, str]

    @cached_property
    def deficits(self) -> list[Fraction]:
        """E(0) = E(1) = 0, E(2), ..., E(T)."""
        each = [Fraction(loss, self.d * t) for t, loss in enumerate(self.losses[2:], 2)]
        return [Fraction(0), *accumulate(each, max, initial=Fraction(0))]

    def E(self, s: int) -> Fraction:
        """E(s), s >= 1: bounds eps_s."""
        s = min(s, self.n)
        end = len(self.losses) - 1
        if s <= end:
            return self.deficits[s]
        if 2 * self.deficits[end] >= 1:
            return self.deficits[end]
        raise FactsEnd

    def A(self, k: int) -> Fraction:
        """A_k, k >= 0: bounds the sum of k of the products of a column with others."""
        k = min(k, self.n - 1)
        end = len(self.sums) - 1
        if k <= end:
            return self.sums[k]
        if self.sums[end] >= self.least:
            return self.sums[end]
        raise FactsEnd

    @property
    def stopping(self) -> int:
        """D0: no stopping set has fewer columns (EXP-10; o <= 1)."""
        if self.overlap == 0:
            return self.n + 1
        return 2 * self.d if self.triangle_free and self.d >= 2 else self.d + 1


@dataclass(frozen=True)
class Claim:
    """One line of the table: ``left(k) < right(k)``; ``since`` is the first version of the format that has it."""

    theorem: str
    goal: str
    needs: tuple[str, ...]
    sides: Sides
    states: str
    since: int = 1

    def belongs(self, version: int) -> bool:
        """Whether a certificate of this version has the line; version 3 has those that need no mask."""
        return self.since <= version and (version < 3 or self.theorem in _MASKLESS)


_MASKLESS = {"STAB-3", "OMP-2", "OMP-3", "OMP-7u", "TOPK-1", "L1-ERC"}
_ID, _OMP, _L0 = "identifiability", "OMP", "l0 decoding"
_UNIQUE = "every k-sparse code is the only k-sparse code of its activation"
_ALL = "OMP recovers every k-sparse code, whatever its coefficients"
_ALL_SCALED = f"{_ALL}, once columns are scaled to exactly unit norm"
_RANGE = "the tied TopK encoder finds support and signs of every k-sparse code of this dynamic range"
_L1 = "l1 minimisation weighted by ||w_j||_1 recovers every k-sparse code"
_PLAIN = "l1 minimisation recovers every k-sparse code"
_AGREEMENT = (
    "for almost all values on this mask and almost all codes, agreement of two rows decodes every k-sparse support"
)
_SUMS = "l0 decoding recovers every k-sparse code whose subset sums are distinct"
_MEDIAN = "the median encoder returns every k-sparse code exactly"
_HALF = Fraction(1, 2)


def _omp7u(f: Known, k: int) -> tuple[Fraction, Fraction]:
    return (f.A(k) / f.least) ** 2, Fraction(16, (k + 4) ** 2) if k < 4 else Fraction(1, k)


CLAIMS = (
    Claim("IDN-1", _ID, ("full",), lambda f, k: (f.E(2 * k), _HALF), _UNIQUE),
    Claim("EXP-10", _ID, ("full", "overlap"), lambda f, k: (2 * k, f.stopping), _UNIQUE),
    Claim("IDN-1z", _ID, (), lambda f, k: (2 * f.curvature * f.E(2 * k), 1), _UNIQUE),
    Claim("STAB-3", _ID, (), lambda f, k: (f.A(2 * k - 1), f.least), _UNIQUE),
    Claim("OMP-2", _OMP, ("unit",), lambda f, k: ((2 * k - 1) * f.A(1), f.least), _ALL),
    Claim("OMP-3", _OMP, ("unit",), lambda f, k: (f.A(k) + f.A(k - 1), f.least), _ALL),
    Claim("OMP-5", _OMP, ("unit",), lambda f, k: (f.curvature * ((k + 1) * f.E(k + 1) + k * f.E(k)), 1), _ALL_SCALED),
    Claim("OMP-7u", _OMP, ("unit",), _omp7u, _ALL_SCALED),
    Claim("PAPER-OMP", _OMP, ("unit",), lambda f, k: (f.curvature * (2 * k + 1) * f.E(k + 1), 1), _ALL_SCALED),
    Claim("TOPK-1", "TopK encoder", ("unit",), lambda f, k: (f.range * (f.A(k) + f.A(k - 1)), f.least), _RANGE),
    Claim("NSP-2", "l1", (), lambda f, k: (f.beta * f.E(2 * k), Fraction(1, 4)), _L1),
    Claim("L1-ERC", "l1", (), lambda f, k: (f.A(k) + f.A(k - 1), f.least), _PLAIN, since=2),
    Claim("L0-1", _L0, ("full",), lambda f, k: (f.E(k), (1 - Fraction(1, f.d)) / 2), _AGREEMENT),
    Claim("L0-2", _L0, ("binary",), lambda f, k: (f.overlap, (1 - 2 * f.E(k)) * f.d), _SUMS),
    Claim("MED-1 overlap", _L0, ("full",), lambda f, k: (f.overlap * k, Fraction(f.d, 2)), _MEDIAN),
    Claim("MED-1 expansion", _L0, ("full",), lambda f, k: ((k + 1) * f.E(k + 1), _HALF), _MEDIAN),
)


def evaluate(claim: Claim, facts: Known) -> tuple[dict[str, Any], Fraction | None]:
    """The entry that the certificate must have for this claim, and the slack at k."""
    k, held, failed = 0, None, None
    refused = next((facts.refusals[need] for need in claim.needs if need in facts.refusals), None)
    while refused is None and k < facts.n:  # monotone in k
        try:
            left, right = claim.sides(facts, k + 1)
        except FactsEnd:
            break
        if not left < right:
            failed = (left, right)
            break
        k, held = k + 1, (left, right)
    entry = {
        "theorem": claim.theorem,
        "goal": claim.goal,
        "states": claim.states,
        "k": k,
        "at_k": _spelled(held),
        "at_next": _spelled(failed),
        "refused": refused,
    }
    return entry, None if held is None else Fraction(held[1]) - held[0]


def _spelled(sides: tuple[Fraction | int, Fraction | int] | None) -> dict[str, str] | None:
    if sides is None:
        return None
    left, right = sides
    return {"left": str(left), "right": str(right), "slack": str(right - left)}
