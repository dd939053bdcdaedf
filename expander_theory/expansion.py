"""How far a mask expands: the minimum of |N(S)| / (d |S|) over small sets of columns.

Each value is stated as what it is: ``exact``, or an interval whose ``upper`` end is a set that was
found and whose ``lower`` end is proved for every set. Counting is in integers throughout.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.expansion import FINISHED, greedy_losses, reverse_search
from expander_theory.errors import require, require_int
from expander_theory.geometry import column_overlaps
from expander_theory.masks import Mask

_BUDGET = 20_000_000  # columns looked at between two looks at the clock: some hundredths of a second
_GREEDY = 200_000_000  # columns that greedy search may look at
_FEW_ROOTS = 64  # starts of greedy search where only a quick witness is wanted


@dataclass(frozen=True)
class SizeExpansion:
    """Bounds on min |N(S)| over the sets S of exactly ``size`` columns.

    Attributes:
        size: |S|.
        d: left degree.
        lower: proved for every set of this size.
        upper: attained by ``witness``.
        witness: columns of a set with |N(S)| = upper.
    """

    size: int
    d: int
    lower: int
    upper: int
    witness: tuple[int, ...]

    @property
    def exact(self) -> bool:
        """Whether the two bounds meet."""
        return self.lower == self.upper


@dataclass(frozen=True)
class ExpansionProfile:
    """Expansion of a mask over sets of 1, 2, ..., ``max_size`` columns."""

    sizes: tuple[SizeExpansion, ...]

    @property
    def max_size(self) -> int:
        """The largest size covered."""
        return len(self.sizes)

    def ratio_bounds(self, size: int | None = None) -> tuple[Fraction, Fraction]:
        """(lower, upper) bounds on min |N(S)| / (d|S|) over 1 <= |S| <= size; equal when exact.

        eps_s = 1 - this ratio (cumulative over sizes, THEORY.md EXP-0).

        Raises:
            InvalidArgument: size outside 1..max_size.
        """
        size = self.max_size if size is None else size
        require(1 <= size <= self.max_size, "size", size, f"must be between 1 and {self.max_size}")
        used = self.sizes[:size]
        return (
            min(Fraction(e.lower, e.d * e.size) for e in used),
            min(Fraction(e.upper, e.d * e.size) for e in used),
        )


def expansion_profile(mask: Mask, max_size: int, *, time_limit: float = 10.0) -> ExpansionProfile:
    """Minimum neighbourhoods of all sets of up to ``max_size`` columns.

    Upper bounds come from greedy search; where the proved lower bounds (:func:`largest_losses`)
    do not meet them, an exhaustive reverse search over canonical sets decides, size by size,
    until ``time_limit`` seconds are spent. What is still open then is returned as an interval,
    with the best of the proved bounds as its lower end. The exact minimum is coNP-hard in general
    (THEORY.md EXP-8).

    Args:
        time_limit: seconds, for the exhaustive search; the polynomial-time bounds come first in any case.

    Raises:
        InvalidArgument: max_size outside 1..n, or a negative time limit.
    """
    max_size = require_int("max_size", max_size)
    require(1 <= max_size <= mask.n, "max_size", max_size, f"must be between 1 and n = {mask.n}")
    require(time_limit >= 0, "time_limit", time_limit, "must be at least 0 seconds")
    deadline = time.monotonic() + time_limit
    overlaps = column_overlaps(mask)
    found, witnesses = greedy_losses(mask.rows, *mask.row_lists, mask.m, _roots(overlaps, max_size), max_size)
    proved = largest_losses(overlaps, max_size)
    sizes = []
    for size in range(1, max_size + 1):
        loss, witness, bound = int(found[size]), witnesses[size, :size].copy(), int(proved[size])
        if sizes:  # a set has at least as many neighbours as its subsets
            bound = min(bound, mask.d * size - sizes[-1].lower)
        for done in sizes[1:]:  # transfer from smaller sets (THEORY.md EXP-4)
            settled = done.d * done.size - done.lower
            bound = min(bound, settled * size * (size - 1) // (done.size * (done.size - 1)))
        if loss < bound:
            search = _ReverseSearch(mask, size, loss, witness, bound)
            finished = any(search.steps(deadline))
            loss, witness = search.loss, search.witness
            bound = loss if finished else bound
        members = tuple(sorted(int(j) for j in witness))
        sizes.append(SizeExpansion(size, mask.d, mask.d * size - bound, mask.d * size - loss, members))
    return ExpansionProfile(tuple(sizes))


@dataclass(frozen=True)
class SearchOutcome:
    """Whether some set of a given size has at least a given loss.

    Attributes:
        status: "none" (proved), "found", or "out_of_time" (open).
        witness: columns of a set that was found, increasing.
        seconds: time spent.
    """

    status: Literal["none", "found", "out_of_time"]
    witness: tuple[int, ...] | None
    seconds: float


def losing_set(mask: Mask, size: int, loss: int, *, time_limit: float = 10.0) -> SearchOutcome:
    """Decide whether some set S of exactly ``size`` columns has coll(S) = d|S| - |N(S)| >= ``loss``.

    Far cheaper than the exact minimum where ``loss`` is large. Greedy search first, then the exhaustive
    reverse search over canonical sets.

    Raises:
        InvalidArgument: size outside 1..n, or a negative time limit.
    """
    size, loss = require_int("size", size), require_int("loss", loss)
    require(1 <= size <= mask.n, "size", size, f"must be between 1 and n = {mask.n}")
    require(time_limit >= 0, "time_limit", time_limit, "must be at least 0 seconds")
    begun = time.monotonic()
    overlaps = column_overlaps(mask)
    roots = _roots(overlaps, size)[:_FEW_ROOTS]
    found, witnesses = greedy_losses(mask.rows, *mask.row_lists, mask.m, roots, size)
    return _decide(mask, size, loss, int(found[size]), witnesses[size, :size], begun, begun + time_limit)


def _decide(
    mask: Mask, size: int, loss: int, found: int, witness: NDArray[np.int32], begun: float, deadline: float
) -> SearchOutcome:
    """:func:`losing_set`, from the loss of a set that was found already."""
    if found < loss:
        search = _ReverseSearch(mask, size, loss - 1, witness.copy(), loss)
        finished = any(search.steps(deadline))
        if search.loss < loss:
            return SearchOutcome("none" if finished else "out_of_time", None, time.monotonic() - begun)
        witness = search.witness
    return SearchOutcome("found", tuple(sorted(int(j) for j in witness)), time.monotonic() - begun)


@dataclass(frozen=True)
class ExpandingSize:
    """How far eps_s < eps is proved.

    Attributes:
        eps: the threshold.
        proved: the largest s for which eps_s < eps is proved (1 at least: eps_1 = 0).
        fails_at: a size where ``witness`` shows eps_s >= eps; None if none was met.
        witness: columns of that set.
        by: how each size 2..proved was settled: "overlap" (EXP-3), "subset", "transfer" (EXP-4), "search".
        seconds: time spent.
    """

    eps: Fraction
    proved: int
    fails_at: int | None
    witness: tuple[int, ...] | None
    by: tuple[str, ...]
    seconds: float


def expanding_size(
    mask: Mask, eps: Fraction, *, max_size: int | None = None, time_limit: float = 10.0
) -> ExpandingSize:
    """The largest s for which eps_s < eps is proved: no set of t <= s columns loses eps d t or more.

    Bounds from overlaps and from smaller sets first, an exhaustive search (:func:`losing_set`) where they do not
    suffice, until a set with eps_t >= eps turns up or the time is spent. Source: THEORY.md EXP-3, EXP-4.

    Args:
        eps: in (0, 1].
        max_size: go no further than this (default n).

    Raises:
        InvalidArgument: eps or max_size out of range, or a negative time limit.
    """
    eps = Fraction(eps)
    require(0 < eps <= 1, "eps", eps, "must be in (0, 1]")
    limit = mask.n if max_size is None else require_int("max_size", max_size)
    require(1 <= limit <= mask.n, "max_size", limit, f"must be between 1 and n = {mask.n}")
    require(time_limit >= 0, "time_limit", time_limit, "must be at least 0 seconds")
    begun = time.monotonic()
    overlaps = column_overlaps(mask)
    if not overlaps.any():
        return ExpandingSize(eps, limit, None, None, ("overlap",) * (limit - 1), time.monotonic() - begun)
    reach = min(limit, 64)
    cheap = largest_losses(overlaps, reach)
    small = expansion_profile(mask, min(4, limit), time_limit=time_limit / 4)
    losses, by = [0, 0], []
    for size in range(2, limit + 1):
        if size > reach:
            reach = min(limit, 2 * reach)
            cheap = largest_losses(overlaps, reach)
        target = math.ceil(eps * mask.d * size)
        bounds = {"overlap": int(cheap[size]), "subset": losses[-1] + mask.d}
        if size > 2:
            sizes = range(2, size)
            bounds["transfer"] = min(losses[s] * size * (size - 1) // (s * (s - 1)) for s in sizes)
        if size <= small.max_size:
            bounds["search"] = mask.d * size - small.sizes[size - 1].lower
        rule = min(bounds, key=bounds.__getitem__)
        if bounds[rule] >= target:
            outcome = losing_set(mask, size, target, time_limit=max(0.0, begun + time_limit - time.monotonic()))
            if outcome.status != "none":
                fails = size if outcome.status == "found" else None
                seconds = time.monotonic() - begun
                return ExpandingSize(eps, size - 1, fails, outcome.witness, tuple(by), seconds)
            rule, bounds["search"] = "search", target - 1
        losses.append(bounds[rule])
        by.append(rule)
    return ExpandingSize(eps, limit, None, None, tuple(by), time.monotonic() - begun)


def largest_losses(histogram: NDArray[np.int32], max_size: int) -> NDArray[np.int64]:
    """Proved upper bounds on d|S| - |N(S)|, by size 0..max_size, from pairwise overlaps alone.

    The best of THEORY.md EXP-3(b), (c), (d) and of |N(S)| >= d.

    Args:
        histogram: (n, d + 1), as :func:`expander_theory.geometry.column_overlaps` counts it.
    """
    d, present = histogram.shape[1] - 1, np.nonzero(histogram.any(axis=0))[0]
    o = int(present.max()) if present.size else 0
    bounds = np.zeros(max_size + 1, np.int64)
    steps = np.maximum(0, d - o * np.arange(max_size))
    for size in range(2, max_size + 1):
        by_steps = d * size - int(steps[:size].sum())
        neighbours = -(-(d * d * size) // (d + o * (size - 1)))  # ceil
        strongest = np.sort(_largest_overlap_sums(histogram, size - 1))[::-1][:size]
        by_columns = int(strongest.sum()) // 2
        bounds[size] = min(by_steps, d * size - neighbours, by_columns, d * (size - 1))
    return bounds


def _largest_overlap_sums(histogram: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """O_j(count): the sum of the ``count`` largest overlaps of each column."""
    left = np.full(histogram.shape[0], count, np.int64)
    total = np.zeros(histogram.shape[0], np.int64)
    for overlap in range(histogram.shape[1] - 1, 0, -1):
        taken = np.minimum(left, histogram[:, overlap])
        total += overlap * taken
        left -= taken
    return total


def _roots(histogram: NDArray[np.int32], max_size: int) -> NDArray[np.int64]:
    """All columns, or the most overlapping ones where there are very many."""
    sums = _largest_overlap_sums(histogram, max(1, max_size - 1))
    return np.argsort(-sums, kind="stable")[: max(1, _GREEDY // (sums.size * max_size))]


class _ReverseSearch:
    """Exhaustive search at one size, in steps that look at the clock (state lives in the arrays)."""

    def __init__(self, mask: Mask, size: int, loss: int, witness: NDArray[np.int32], bound: int) -> None:
        self._graph = (mask.rows, *mask.row_lists)
        self._state = (
            np.zeros(mask.m, np.int32),  # multiplicity
            np.zeros(mask.n, np.int32),  # hits
            np.zeros(mask.n, np.bool_),  # queued
            np.zeros(size, np.int32),  # members
            np.zeros((3, size), np.int64),  # path
            np.zeros((max(1, size - 1), mask.n), np.int32),  # queue
            np.zeros(1, np.int64),  # position
        )
        path, queue = self._state[4:6]
        path[2, 0], queue[0] = mask.n, np.arange(mask.n)
        self._best = np.array([loss], np.int64)
        self._bound = bound  # no set loses more: reaching it ends the search
        self.witness = witness

    @property
    def loss(self) -> int:
        return int(self._best[0])

    def steps(self, deadline: float) -> Iterator[bool]:
        """Yield False after each budget of columns, True once finished; stop at the deadline."""
        while time.monotonic() < deadline:
            finished = (
                reverse_search(*self._graph, *self._state, self._best, self.witness, self._bound, _BUDGET) == FINISHED
            )
            yield finished
            if finished:
                return
