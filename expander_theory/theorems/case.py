"""An instance of a statement about dictionaries: W, k, and a code and noise where it needs them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import require
from expander_theory.dictionaries import Dictionary, ExpansionProfile, Floats, babel, column_overlaps, expansion_profile
from expander_theory.masks import Mask
from expander_theory.theorems._subsets import MAX_N, Subsets

MAX_SETS = 200_000
"""Most sets of columns that a conclusion about *all* supports looks at."""


@dataclass(frozen=True)
class Interval:
    """A rational known to lie in [low, high], and by what."""

    low: Fraction
    high: Fraction
    how: str


@dataclass(frozen=True, eq=False)
class Case:
    """One instance. Everything derived is computed on demand and kept.

    Attributes:
        dictionary: the values as given; with ``unit``, the statement is about W with columns scaled to l2 norm 1.
        k: sparsity (or the size of the sets in question).
        code: x, shape (n,), float64, for statements about one code.
        noise: e, shape (m,), float64.
        signal: h, an activation of no code in particular, shape (m,), float64.
        unit: work with normalised columns.
        time_limit: seconds for the expansion of masks too large for enumeration.
    """

    dictionary: Dictionary
    k: int = 1
    code: Floats | None = None
    noise: Floats | None = None
    unit: bool = False
    time_limit: float = 10.0
    profiles: list[ExpansionProfile] = field(default_factory=list, repr=False)
    """Expansion of a large mask, once computed; cases of one mask share the list."""
    signal: Floats | None = None

    @property
    def mask(self) -> Mask:
        """The supports."""
        return self.dictionary.mask

    @property
    def m(self) -> int:
        """Rows."""
        return self.dictionary.m

    @property
    def n(self) -> int:
        """Columns."""
        return self.dictionary.n

    @property
    def d(self) -> int:
        """Left degree."""
        return self.dictionary.d

    # ---- the mask

    @cached_property
    def subsets(self) -> Subsets:
        """Every set of columns (small masks only)."""
        return Subsets(self.mask)

    def eps(self, s: int) -> Interval:
        """eps_s; exact where the sets can be enumerated or searched, otherwise a proved interval."""
        s = min(s, self.n)
        if self.n <= MAX_N:
            value = self.subsets.eps(s)
            return Interval(value, value, "exact, all sets enumerated")
        if not self.profiles or self.profiles[-1].max_size < s:
            size = min(self.n, max(s, 2 * self.k + 1))
            self.profiles.append(expansion_profile(self.mask, size, time_limit=self.time_limit))
        low, high = self.profiles[-1].ratio_bounds(s)
        how = "exact, exhaustive search" if low == high else "upper: proved (EXP-3, EXP-4, search); lower: a set found"
        return Interval(1 - high, 1 - low, f"eps_{s} {how}")

    @cached_property
    def overlaps(self) -> NDArray[np.int64]:
        """o(j, l) = |N(j) cap N(l)|, shape (n, n), zero diagonal."""
        incidence = np.zeros((self.n, self.m), np.int64)
        incidence[np.arange(self.n)[:, None], self.mask.rows] = 1
        found = incidence @ incidence.T
        np.fill_diagonal(found, 0)
        return found

    @cached_property
    def overlap(self) -> int:
        """o: the largest overlap of two columns."""
        if self.n <= 1024:
            return int(self.overlaps.max()) if self.n > 1 else 0
        present = np.nonzero(column_overlaps(self.mask).any(axis=0))[0]
        return int(present.max()) if present.size else 0

    # ---- flatness (scale free)

    @cached_property
    def values(self) -> Floats:
        """Values in float64, shape (n, d), scaled to unit l2 norm where ``unit``."""
        values = self.dictionary.values.astype(np.float64)
        return values / self.dictionary.column_norms[:, None] if self.unit else values

    @cached_property
    def norms1(self) -> Floats:
        """lambda_j = ||w_j||_1."""
        return np.abs(self.values).sum(axis=1)

    @cached_property
    def C(self) -> float:
        """max_j sqrt(d) ||w_j||_inf / ||w_j||_2."""
        return math.sqrt(float(self.C_squared))

    @cached_property
    def C_squared(self) -> Fraction:
        """C^2, exactly, from the values as given."""
        return max(self.d * max(v * v for v in w) / sum(v * v for v in w) for w in self._rational)

    @cached_property
    def beta(self) -> Fraction:
        """max_j d ||w_j||_inf / ||w_j||_1, exactly."""
        return max(self.d * max(map(abs, w)) / sum(map(abs, w)) for w in self._rational)

    @cached_property
    def alpha(self) -> Fraction:
        """min_j d min_i |w_ij| / ||w_j||_1, exactly."""
        return min(self.d * min(map(abs, w)) / sum(map(abs, w)) for w in self._rational)

    @cached_property
    def phi(self) -> Fraction:
        """min_j ||w_j||_1^2 / (d ||w_j||_2^2), exactly."""
        return min(Fraction(sum(map(abs, w)) ** 2) / (self.d * sum(v * v for v in w)) for w in self._rational)

    @cached_property
    def _rational(self) -> list[list[Fraction]]:
        return [[Fraction(float(v)) for v in w] for w in self.dictionary.values]

    def top_mass(self, c: Fraction) -> Fraction:
        """Tbar(c): least concave majorant, on [0, d], of the largest share of l1 mass in c entries of a column."""
        shares = [Fraction(0)] * (self.d + 1)
        for w in self._rational:
            moduli = sorted(map(abs, w), reverse=True)
            total, mass = sum(moduli), Fraction(0)
            for i, modulus in enumerate(moduli, 1):
                mass += modulus
                shares[i] = max(shares[i], mass / total)
        return _concave_majorant(shares, c)

    # ---- the dictionary

    @cached_property
    def W(self) -> Floats:
        """The dense matrix, shape (m, n), float64."""
        dense = np.zeros((self.m, self.n))
        dense[self.mask.rows, np.arange(self.n)[:, None]] = self.values
        return dense

    @cached_property
    def G(self) -> Floats:
        """W^T W, shape (n, n); modest n only."""
        require(self.n <= 4096, "n", self.n, "must be at most 4096 where the whole Gram matrix is needed")
        return self.W.T @ self.W

    @cached_property
    def _babel_sums(self) -> Floats:
        moduli = np.abs(self.G)
        np.fill_diagonal(moduli, 0)
        return np.concatenate([[0.0], np.cumsum(-np.sort(-moduli, axis=1), axis=1).max(axis=0)])

    def babel(self, k: int) -> float:
        """mu_1(k); mu_1(0) = 0, and mu_1(k) = mu_1(n - 1) for k >= n."""
        k = min(k, self.n - 1)
        if self.n <= 4096:
            return float(self._babel_sums[k])
        return float(babel(self.dictionary, k)[-1]) if k > 0 else 0.0

    @property
    def mu(self) -> float:
        """Mutual coherence."""
        return self.babel(1)

    def exact_columns(self, chosen: tuple[int, ...]) -> list[list[Fraction]]:
        """The chosen columns as given, exactly: a list of m-vectors."""
        out = []
        for j in chosen:
            column = [Fraction(0)] * self.m
            for row, value in zip(self.mask.rows[j], self._rational[j], strict=True):
                column[row] = value
            out.append(column)
        return out

    # ---- the code

    @property
    def x(self) -> Floats:
        """The code; an error where none was given."""
        require(self.code is not None, "code", None, "is needed by this statement")
        assert self.code is not None
        return self.code

    @property
    def e(self) -> Floats:
        """The noise; an error where none was given."""
        require(self.noise is not None, "noise", None, "is needed by this statement")
        assert self.noise is not None
        return self.noise

    @property
    def h(self) -> Floats:
        """The activation; an error where none was given."""
        require(self.signal is not None, "signal", None, "is needed by this statement")
        assert self.signal is not None
        return self.signal

    @cached_property
    def support(self) -> tuple[int, ...]:
        """The columns where the code is not zero, increasing."""
        return tuple(int(j) for j in np.nonzero(self.x)[0])

    @cached_property
    def x_min(self) -> float:
        """Least modulus on the support."""
        return float(np.abs(self.x[list(self.support)]).min())

    @cached_property
    def x_max(self) -> float:
        """Largest modulus."""
        return float(np.abs(self.x).max())

    # ---- sets of columns

    def sets(self, size: int) -> NDArray[np.intp]:
        """All sets of ``size`` columns, one a row.

        Raises:
            InvalidArgument: more than :data:`MAX_SETS`.
        """
        size = min(size, self.n)
        count = math.comb(self.n, size)
        require(
            count <= MAX_SETS, "k", self.k, f"asks for {count} sets of {size} columns; at most {MAX_SETS} are tried"
        )
        flat = itertools.chain.from_iterable(itertools.combinations(range(self.n), size))
        return np.fromiter(flat, np.intp, count * size).reshape(count, size)

    def __str__(self) -> str:
        return describe(self)


def describe(case: Case) -> str:
    """The instance as a readable graph."""
    lines = [f"m = {case.m}, n = {case.n}, d = {case.d}, k = {case.k}"]
    lines += [
        f"  column {j}: rows {_list(rows)} values {_list(values)}"
        for j, (rows, values) in enumerate(zip(case.mask.rows.tolist(), case.dictionary.values.tolist(), strict=True))
    ]
    if case.unit:
        lines[0] += " (columns scaled to unit l2 norm)"
    if case.code is not None:
        lines.append(f"  code: {_list(case.code.tolist())}")
    if case.noise is not None and case.noise.any():
        lines.append(f"  noise: {_list(case.noise.tolist())}")
    if case.signal is not None:
        lines.append(f"  activation: {_list(case.signal.tolist())}")
    return "\n".join(lines)


def _list(values: list[float]) -> str:
    return "[" + ", ".join(f"{v:.6g}" for v in values) + "]"


def _concave_majorant(points: list[Fraction], c: Fraction) -> Fraction:
    """Value at c of the least concave function above (i, points[i]), i = 0..d; constant beyond d."""
    if c >= len(points) - 1:
        return max(points)
    best = max(points[i] for i in range(len(points)) if i == c) if c.denominator == 1 else Fraction(0)
    below = range(math.floor(c) + 1)
    above = range(math.ceil(c), len(points))
    for i, j in itertools.product(below, above):
        if i < j:
            best = max(best, points[i] + (points[j] - points[i]) * (c - i) / (j - i))
    return best
