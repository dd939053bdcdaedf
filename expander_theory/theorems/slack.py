"""How far a condition is from failing: a number with a sign, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from expander_theory.base import require

Number = int | float | Fraction

MET = 1e-6
"""A strict hypothesis in floats counts as met from this slack on: rounding must not make it true."""

TOLERANCE = 1e-9
"""A conclusion in floats counts as violated from this far below its bound on (THEORY.md section 0, Numerics)."""

EQUAL = 1e-12
"""Two float quantities of small integer instances this close are taken as equal."""


@dataclass(frozen=True)
class Slack:
    """A margin: positive where the condition holds with room to spare, negative where it fails.

    Attributes:
        low, high: the margin lies between them; equal when it was computed rather than bounded. A costly
            quantity (expansion) may be known from one side only, and then a negative ``low`` is no failure.
        strict: the condition is margin > 0 instead of margin >= 0.
        how: how the margin was found, and in which direction it was bounded.
    """

    low: Number
    high: Number
    strict: bool = False
    how: str = ""

    def __post_init__(self) -> None:
        require(self.low == self.low and self.high == self.high, "margin", "NaN", "must be a number")

    @property
    def exact(self) -> bool:
        """Whether the margin is a rational number, free of rounding."""
        return not isinstance(self.low, float) and not isinstance(self.high, float)

    @property
    def met(self) -> bool:
        """Surely true: as a hypothesis it may be relied on."""
        if self.exact:
            return self.low > 0 if self.strict else self.low >= 0
        return self.low > MET if self.strict else self.low >= -EQUAL

    @property
    def violated(self) -> bool:
        """Surely false: as a conclusion it is refuted. For strict conditions equality is failure."""
        if self.exact:
            return self.high <= 0 if self.strict else self.high < 0
        return self.high <= TOLERANCE if self.strict else self.high < -TOLERANCE

    @property
    def status(self) -> str:
        """ "holds", "fails", or "undecided" (only bounds are known, or the margin is within rounding)."""
        return "holds" if self.met else "fails" if self.violated else "undecided"

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{shown(self.low)} ({self.status})"
        return f"between {shown(self.low)} and {shown(self.high)} ({self.status})"


def positive(margin: Number, *, high: Number | None = None, how: str = "") -> Slack:
    """The condition margin > 0; with ``high``, the margin is known to lie in [margin, high]."""
    return Slack(_plain(margin), _plain(margin if high is None else high), True, how)


def nonnegative(margin: Number, *, high: Number | None = None, how: str = "") -> Slack:
    """The condition margin >= 0; with ``high``, the margin is known to lie in [margin, high]."""
    return Slack(_plain(margin), _plain(margin if high is None else high), False, how)


def least(*slacks: Slack) -> Slack:
    """All conditions at once: one that fails decides first, then one that is undecided, then the smallest margin."""
    return min(slacks, key=lambda s: (not s.violated, s.met, s.low))


def shown(value: Number) -> str:
    """A margin as text: rationals exactly, floats with four digits."""
    if isinstance(value, Fraction):
        return str(value) if value.denominator < 10**6 else f"{float(value):.4g}"
    if isinstance(value, float):
        return "inf" if math.isinf(value) and value > 0 else f"{value:.4g}"
    return str(value)


def _plain(value: Number) -> Number:
    """numpy scalars as Python numbers."""
    if isinstance(value, Fraction | int) and not isinstance(value, bool):
        return value
    return value.item() if hasattr(value, "item") else value  # type: ignore[union-attr]
