"""How far a mask expands: the minimum of |N(S)| / (d |S|) over small sets of columns.

Each value is stated as what it is: ``exact``, or an interval whose ``upper`` end is a set that was
found and whose ``lower`` end is proved for every set. Counting is in integers throughout.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.expansion.graph import Graph
from expander_theory._kernels.expansion.local_search import greedy_losses, swap_search
from expander_theory._kernels.expansion.reverse_search import FINISHED, new_search, reverse_search
from expander_theory.base import Seed, generator, require, require_int
from expander_theory.dictionaries.geometry import column_overlaps
from expander_theory.masks import Mask

_BUDGET = 20_000_000  # columns looked at between two looks at the clock: some hundredths of a second
_GREEDY = 200_000_000  # columns that greedy search may look at
_FEW_ROOTS = 64  # starts of greedy search where only a quick witness is wanted
_LARGEST_GREEDY = 256
_SMALL = 5  # sizes whose exact expansion is sought first
_SWAPS, _TENURE = 4000, 5  # of the attack: swaps from each start; a column that moved rests for so many


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
    overlaps = _overlaps(mask)
    found, witnesses = greedy_losses(Graph(mask.rows, *mask.row_lists), mask.m, _roots(overlaps, max_size), max_size)
    proved = largest_losses(overlaps, max_size)
    deadline = _deadline(time_limit)
    sizes = []
    for size in range(1, max_size + 1):
        loss, witness, bound = int(found[size]), witnesses[size, :size].copy(), int(proved[size])
        if sizes:
            bound = min(bound, _grown_loss(mask.d * (size - 1) - sizes[-1].lower, size, mask.d))
        if loss < bound:
            search = _ReverseSearch(mask, size, loss, witness, bound)
            finished = any(search.steps(deadline))
            loss, witness = search.loss, search.witness
            bound = loss if finished else bound
        sizes.append(SizeExpansion(size, mask.d, mask.d * size - bound, mask.d * size - loss, _increasing(witness)))
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

    Far cheaper than the exact minimum where ``loss`` is large. A quick greedy search and the overlap bound first,
    then the exhaustive reverse search over canonical sets.

    Args:
        time_limit: seconds, for the exhaustive search.

    Raises:
        InvalidArgument: size outside 1..n, or a negative time limit.
    """
    size, loss = require_int("size", size), require_int("loss", loss)
    require(1 <= size <= mask.n, "size", size, f"must be between 1 and n = {mask.n}")
    require(time_limit >= 0, "time_limit", time_limit, "must be at least 0 seconds")
    begun = time.monotonic()
    overlaps = _overlaps(mask)
    if _overlap_loss(overlaps, size) < loss:
        return SearchOutcome("none", None, time.monotonic() - begun)
    roots = _roots(overlaps, size)[:_FEW_ROOTS]
    found, witnesses = greedy_losses(Graph(mask.rows, *mask.row_lists), mask.m, roots, size)
    witness = witnesses[size, :size].copy()
    if found[size] < loss:
        search = _ReverseSearch(mask, size, loss - 1, witness, loss)
        finished = any(search.steps(_deadline(time_limit)))
        if search.loss < loss:
            return SearchOutcome("none" if finished else "out_of_time", None, time.monotonic() - begun)
        witness = search.witness
    return SearchOutcome("found", _increasing(witness), time.monotonic() - begun)


@dataclass(frozen=True)
class ExpandingSize:
    """How far eps_s < eps is proved.

    Attributes:
        eps: the threshold.
        proved: the largest s for which eps_s < eps is proved (1 at least: eps_1 = 0).
        fails_at: a size where ``witness`` shows eps_s >= eps; None if none was met.
        witness: columns of that set, increasing.
        by: how sizes 2, 3, ..., ``proved`` were settled: "overlap" (EXP-3), "subset" (one column more loses at most
            d more), "transfer" (EXP-4), "search".
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

    Bounds from overlaps and from smaller sets first, an exhaustive search as in :func:`losing_set` where they do not
    suffice, until a set with eps_t >= eps turns up or the time is spent. Then ``fails_at`` comes from greedy search,
    if that gets there (:func:`attack_expansion` looks harder). Source: THEORY.md EXP-3, EXP-4.

    Args:
        eps: in (0, 1].
        max_size: go no further than this (default n).
        time_limit: seconds, for the exhaustive searches; greedy search and polynomial-time bounds come on top.

    Raises:
        InvalidArgument: eps or max_size out of range, or a negative time limit.
    """
    eps = Fraction(eps)
    require(0 < eps <= 1, "eps", eps, "must be in (0, 1]")
    limit = mask.n if max_size is None else require_int("max_size", max_size)
    require(1 <= limit <= mask.n, "max_size", limit, f"must be between 1 and n = {mask.n}")
    require(time_limit >= 0, "time_limit", time_limit, "must be at least 0 seconds")
    begun = time.monotonic()
    overlaps = _overlaps(mask)
    witnesses = _failing_sets(mask, eps, overlaps, min(limit, _LARGEST_GREEDY))
    # Exact values of small sizes bound larger ones better than "below eps" does.
    deadline = _deadline(time_limit)
    exact = expansion_profile(mask, min(limit, _SMALL), time_limit=time_limit / 4).sizes
    losses, by = [0, 0], []
    for size in range(2, limit + 1):
        target = math.ceil(eps * mask.d * size)
        bounds = {"transfer": _grown_loss(losses[-1], size, mask.d), "subset": losses[-1] + mask.d}
        if size <= _SMALL or bounds["transfer"] >= target:
            bounds["overlap"] = _overlap_loss(overlaps, size)
        if size <= len(exact):
            bounds["search"] = mask.d * size - exact[size - 1].lower
        # In order of simplicity: the first of the least.
        rule = min((r for r in ("overlap", "subset", "transfer", "search") if r in bounds), key=bounds.__getitem__)
        if bounds[rule] >= target:
            if size in witnesses:
                break
            search = _ReverseSearch(mask, size, target - 1, np.zeros(size, np.int32), target)
            finished = any(search.steps(deadline))
            if search.loss >= target:
                witnesses[size] = _increasing(search.witness)
            if search.loss >= target or not finished:
                break
            rule, bounds["search"] = "search", target - 1
        losses.append(bounds[rule])
        by.append(rule)
    fails_at = min(witnesses, default=None)
    witness = None if fails_at is None else witnesses[fails_at]
    return ExpandingSize(eps, len(by) + 1, fails_at, witness, tuple(by), time.monotonic() - begun)


def _failing_sets(mask: Mask, eps: Fraction, overlaps: NDArray[np.int32], max_size: int) -> dict[int, tuple[int, ...]]:
    """Sets with coll(S) >= eps d|S| from greedy search, by their size."""
    roots = _roots(overlaps, max_size)[:_FEW_ROOTS]
    found, witnesses = greedy_losses(Graph(mask.rows, *mask.row_lists), mask.m, roots, max_size)
    bad = (s for s in range(2, max_size + 1) if found[s] >= eps * mask.d * s)
    return {size: _increasing(witnesses[size, :size]) for size in bad}


@dataclass(frozen=True)
class SizeUpperBound:
    """A set of ``size`` columns that loses much: min |N(S)| <= d size - ``loss`` over sets of this size.

    Attributes:
        size: |S|.
        loss: coll(S) = d|S| - |N(S)| of the set.
        witness: its columns, increasing.
    """

    size: int
    loss: int
    witness: tuple[int, ...]


def attack_expansion(mask: Mask, sizes: Sequence[int], *, seed: Seed, restarts: int = 8) -> tuple[SizeUpperBound, ...]:
    """Upper bounds on min |N(S)| over |S| = size: greedy sets improved by swapping columns (tabu search).

    A bound that no search of fixed effort can turn into a certificate: eps of these sizes may be larger still. Work
    grows like ``restarts`` times n times the number of sizes.

    Args:
        sizes: sizes in 1..n, in any order; the result follows it.
        seed: of the starts and of the ties.
        restarts: starts per size; the first is the best greedy set known.

    Raises:
        InvalidArgument: no size or one outside 1..n, restarts below 1, or a bad seed.
    """
    wanted = [require_int("sizes", size) for size in sizes]
    require(bool(wanted) and 1 <= min(wanted) <= max(wanted) <= mask.n, "sizes", wanted, f"must lie in 1..{mask.n}")
    require(require_int("restarts", restarts) >= 1, "restarts", restarts, "must be at least 1")
    rng = generator(seed, "attack on expansion")
    graph, largest = Graph(mask.rows, *mask.row_lists), max(wanted)
    best: dict[int, SizeUpperBound] = {}
    for restart in range(restarts):
        roots = rng.integers(0, mask.n, 1) if restart else _roots(_overlaps(mask), largest)[:_FEW_ROOTS]
        _, starts = greedy_losses(graph, mask.m, roots, largest)
        for size in sorted(set(wanted)):
            witness = np.empty(size, np.int32)
            loss = swap_search(rng, graph, mask.m, starts[size, :size].copy(), _SWAPS, min(_TENURE, size // 2), witness)
            if size not in best or loss > best[size].loss:
                best[size] = SizeUpperBound(size, int(loss), _increasing(witness))
    return tuple(best[size] for size in wanted)


def _increasing(columns: NDArray[np.int32]) -> tuple[int, ...]:
    return tuple(sorted(int(j) for j in columns))


def largest_losses(histogram: NDArray[np.int32], max_size: int) -> NDArray[np.int64]:
    """Proved upper bounds on d|S| - |N(S)|, by size 0..max_size, from pairwise overlaps alone.

    The best of THEORY.md EXP-3(b), (c), (d) and of |N(S)| >= d.

    Args:
        histogram: (n, d + 1), as :func:`expander_theory.dictionaries.column_overlaps` counts it.
    """
    return np.array([0, *(_overlap_loss(histogram, size) for size in range(1, max_size + 1))], np.int64)


def _overlap_loss(histogram: NDArray[np.int32], size: int) -> int:
    """:func:`largest_losses` at one size."""
    d, present = histogram.shape[1] - 1, np.nonzero(histogram.any(axis=0))[0]
    o = int(present.max()) if present.size else 0
    by_steps = d * size - int(np.maximum(0, d - o * np.arange(size)).sum())
    neighbours = -(-(d * d * size) // (d + o * (size - 1)))  # ceil
    strongest = np.sort(largest_overlap_sums(histogram, size - 1))[::-1][:size]
    by_columns = int(strongest.sum()) // 2
    return min(by_steps, d * size - neighbours, by_columns, d * (size - 1))


def _grown_loss(loss: int, size: int, d: int) -> int:
    """The largest loss of a set of ``size`` >= 2 columns if ``loss`` is the largest at size - 1.

    Some column of S has marginal loss at most floor(2 coll(S)/|S|) and at most d. In steps of one column, this
    is EXP-4, with the rounding of every step.
    """
    grown = loss + d
    while grown - min(d, 2 * grown // size) > loss:
        grown -= 1
    return grown


@lru_cache(maxsize=4)
def _overlaps(mask: Mask) -> NDArray[np.int32]:
    """:func:`expander_theory.dictionaries.column_overlaps`, kept: the functions here tend to be called in turn."""
    return column_overlaps(mask)


def largest_overlap_sums(histogram: NDArray[np.int32], count: int) -> NDArray[np.int64]:
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
    sums = largest_overlap_sums(histogram, max(1, max_size - 1))
    return np.argsort(-sums, kind="stable")[: max(1, _GREEDY // (sums.size * max_size))]


def _deadline(time_limit: float) -> float:
    """The end of a search that starts now."""
    _compile()
    return time.monotonic() + time_limit


@lru_cache(maxsize=1)
def _compile() -> None:
    """One trivial search, so that the seconds that the first compilation takes are not taken from a user's limit."""
    next(_ReverseSearch(Mask(1, np.zeros((2, 1), np.int32)), 2, 0, np.zeros(2, np.int32), 1).steps(math.inf))


class _ReverseSearch:
    """Exhaustive search at one size, in steps that look at the clock (state lives in the arrays)."""

    def __init__(self, mask: Mask, size: int, loss: int, witness: NDArray[np.int32], bound: int) -> None:
        self._graph = Graph(mask.rows, *mask.row_lists)
        self._search = new_search(mask.m, mask.n, size, loss, witness)
        self._bound = bound  # no set loses more: reaching it ends the search
        self.witness = witness

    @property
    def loss(self) -> int:
        return int(self._search.best[0])

    def steps(self, deadline: float) -> Iterator[bool]:
        """Yield False after each budget of columns, True once finished; stop at the deadline."""
        while time.monotonic() < deadline:
            finished = reverse_search(self._graph, self._search, self._bound, _BUDGET) == FINISHED
            yield finished
            if finished:
                return
