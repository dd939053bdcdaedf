"""Ladders of sparsities in a sweep: tasks that differ in k alone, and what schedules are shown of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import require, require_int

if TYPE_CHECKING:
    from expander_theory.simulation.tasks import Task

Seen = Mapping[int, Sequence[str]]
"""By k, the outcomes of its first blocks: a string of "0" and "1" each."""


@dataclass(frozen=True)
class Ladder:
    """Tasks that differ in k alone: what a phase diagram shows above one value of m/n.

    Attributes:
        base: a task; its own k does not matter.
        ks: the sparsities, ascending.

    Raises:
        InvalidArgument: no k, or not ascending.
    """

    base: Task
    ks: tuple[int, ...]

    def __post_init__(self) -> None:
        ks = tuple(require_int("ks", k) for k in self.ks)
        ascending = len(ks) > 0 and all(a < b for a, b in pairwise(ks))
        require(ascending, "ks", self.ks, "must hold at least one k, ascending")
        object.__setattr__(self, "ks", ks)

    def task(self, k: int) -> Task:
        """The task at one sparsity."""
        return replace(self.base, k=k)

    @property
    def signals_per_unit(self) -> int:
        """Trials that are correlated because they share one of several dictionaries (THEORY.md STAT-2)."""
        return self.base.signals_per_dictionary if self.base.dictionaries == "fresh" else 1

    def blocks(self, trials: int) -> int:
        """The fewest blocks that hold so many trials."""
        return -(-trials // self.base.block_size)

    def values(self, outcomes: Sequence[str]) -> NDArray[np.float64]:
        """One value in [0, 1] for each independent unit of a cell, in order, from the outcomes of its blocks.

        Where several signals share a fresh dictionary the unit is the dictionary and the value its share of
        successes; otherwise the unit is the trial. With one dictionary for the cell or the ladder, trials are
        independent given it, and statements are about that dictionary.
        """
        flat = np.frombuffer("".join(outcomes).encode(), np.uint8) - float(ord("0"))
        return flat.reshape(-1, self.signals_per_unit).mean(axis=1)


class Schedule(Protocol):
    """Decides in rounds how many blocks each cell gets, from the ladder and the outcomes alone."""

    def wanted(self, ladder: Ladder, seen: Seen) -> dict[int, int]:
        """Blocks wanted in total per k, given the outcomes of the first blocks of each k.

        Asks nothing new when the ladder is resolved.
        """
        ...

    def most(self, ladder: Ladder) -> dict[int, int]:
        """Blocks per k that are never exceeded, whatever the outcomes."""
        ...


def seen_counts(seen: Seen) -> dict[int, int]:
    """Blocks seen, of each k that was tried."""
    return {k: len(blocks) for k, blocks in seen.items() if len(blocks)}
