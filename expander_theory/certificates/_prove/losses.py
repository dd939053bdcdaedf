"""How many rows any t columns lose to collisions at most, size by size (FORMAT.md: losses)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import progress_bar
from expander_theory.certificates._prove.search import sets_visited
from expander_theory.dictionaries import expansion_profile, largest_losses, losing_set
from expander_theory.masks import Mask

LONGEST = 512
_SETS = 2_000_000  # sets that all searches of a certificate may visit: a checker in plain Python repeats them
_STEPS = 20_000_000_000  # columns that the searches may look at: those that a set meets, when it comes and goes
_SHARE = 2 / 3  # of the sets left that one search may visit


@dataclass(frozen=True)
class Loss:
    """No set of ``size`` columns S has d|S| - |N(S)| > ``loss``, by the rule ``by`` (FORMAT.md).

    Attributes:
        source: the smaller size that a transfer starts from.
        witness: columns of a set that loses exactly that much, if one is known.
    """

    size: int
    loss: int
    by: str
    source: int | None = None
    witness: tuple[int, ...] | None = None


def loss_bounds(mask: Mask, histogram: NDArray[np.int32], *, time_limit: float, progress: bool) -> list[Loss]:
    """Bounds for t = 1, 2, ... up to the first that is at least d t / 2, or n, or 512.

    For every size the best of the polynomial-time rules and, where it is better, of an exhaustive
    search: for the least loss that the budget of sets lets it prove, which is the exact maximum
    while sizes are small and, later, just what keeps the bound below d t / 2.

    Args:
        histogram: (n, d + 1), as :func:`expander_theory.dictionaries.column_overlaps` counts it.
        time_limit: seconds for the searches.
    """
    longest = min(mask.n, LONGEST)
    bounds = [Loss(1, 0, "single", None, (0,))]
    found, overlap = _Greedy(mask), _Overlap(histogram)
    searches = _Searches(mask, histogram, time.monotonic() + time_limit)
    with progress_bar(show=progress, desc="sizes of sets", unit="", leave=False) as bar:
        while len(bounds) < longest and 2 * bounds[-1].loss < mask.d * len(bounds):
            size = len(bounds) + 1
            bounds.append(searches.improve(_cheapest(bounds, mask.d, overlap(size)), found(size)))
            bar.update()
    return bounds


def _cheapest(bounds: list[Loss], d: int, overlap: int) -> Loss:
    size = len(bounds) + 1
    rules = [Loss(size, overlap, "overlap"), Loss(size, bounds[-1].loss + d, "subset")]
    for smaller in bounds[1:]:
        moved = smaller.loss * size * (size - 1) // (smaller.size * (smaller.size - 1))
        rules.append(Loss(size, moved, "transfer", smaller.size))
    return min(rules, key=lambda rule: rule.loss)  # the first of the least


class _Overlap:
    """The overlap rule, by size; computed for ever longer ranges, since few sizes are needed as a rule."""

    def __init__(self, histogram: NDArray[np.int32]) -> None:
        self._histogram = histogram
        self._bounds = largest_losses(histogram, 16)

    def __call__(self, size: int) -> int:
        if size >= len(self._bounds):
            self._bounds = largest_losses(self._histogram, 2 * size)
        return int(self._bounds[size])


@dataclass(frozen=True)
class _Found:
    loss: int
    witness: tuple[int, ...]


class _Greedy:
    """Sets that lose much, by size, from greedy search."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._sizes = ()

    def __call__(self, size: int) -> _Found:
        if size > len(self._sizes):
            longest = min(self._mask.n, LONGEST, max(16, 2 * size))
            self._sizes = expansion_profile(self._mask, longest, time_limit=0).sizes
        best = self._sizes[size - 1]
        return _Found(best.d * size - best.upper, best.witness)


class _Searches:
    """Exhaustive searches within what is left of the time and of the sets that may be visited."""

    def __init__(self, mask: Mask, histogram: NDArray[np.int32], deadline: float) -> None:
        self._mask, self._histogram, self._deadline = mask, histogram, deadline
        met = int((mask.row_degrees**2).sum()) // mask.n  # by one column, with repetitions
        self._sets = float(min(_SETS, _STEPS // (1000 + 2 * met)))

    def improve(self, bound: Loss, found: _Found) -> Loss:
        """``bound``, or a better one by search; with a witness if a set is known that attains it."""
        size = bound.size
        while found.loss < bound.loss:
            target, visited = self._target(bound, found.loss)
            left = self._deadline - time.monotonic()
            if target is None or left <= 0:
                break
            outcome = losing_set(self._mask, size, target + 1, time_limit=left / 2)
            if outcome.status == "none":
                self._sets -= visited  # what a checker has to repeat
                bound = Loss(size, target, "search")
                break
            if outcome.witness is None:  # out of time
                break
            loss = self._mask.d * size - self._mask.neighbours(outcome.witness).size
            found = _Found(loss, outcome.witness)
        return replace(bound, witness=found.witness) if found.loss == bound.loss else bound

    def _target(self, bound: Loss, found: int) -> tuple[int | None, float]:
        """The least loss >= ``found`` that a search can prove with its share of the sets left, and what it takes.

        None if that is no better than ``bound``, or not below d t / 2, beyond which nothing follows from it.
        """
        most = min(bound.loss, -(-self._mask.d * bound.size // 2)) - 1
        if found > most or time.monotonic() >= self._deadline:
            return None, 0.0
        low, high, best, cost, share = found, most, None, 0.0, _SHARE * self._sets
        middle = most  # first whether there is any
        while low <= high:
            visited = sets_visited(self._mask, self._histogram, bound.size, middle + 1, share)
            if visited < share:
                best, cost, high = middle, visited, middle - 1
            elif best is None:
                break
            else:
                low = middle + 1
            middle = (low + high) // 2
        return best, cost
