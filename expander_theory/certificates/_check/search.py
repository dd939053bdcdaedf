"""Exhaustive search for a set of columns with a large loss, size by size; the checker's own algorithm.

The loss of S is coll(S) = d|S| - |N(S)|; the marginal loss of u in S is coll(S) - coll(S - u), the number of rows of
N(u) that other columns of S meet too. A row of multiplicity mu >= 2 counts in mu <= 2 (mu - 1) marginals and mu - 1
times in coll(S), so the marginals sum to at most 2 coll(S), and each is at most d: the least is at most
min(d, floor(2 coll(S) / |S|)). For |S| >= 2, L - min(d, floor(2 L / |S|)) does not decrease in L. Hence a set of size i
with loss >= L_i contains, without its column of least marginal loss, a set of size i - 1 with loss >=
L_{i-1} = L_i - min(d, floor(2 L_i / i)), and L_2 >= 1 where the last is. The search makes all sets of size 2, 3, ...
that reach these thresholds; each is made once, from the set that lacks its column of least marginal loss (of several
such the one of lowest index).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import progress_bar
from expander_theory.certificates._check.extend import CELLS, Extension, Sets
from expander_theory.certificates._check.overlaps import Ints

MOST_SETS = 20_000_000
MOST_CANDIDATES = 5_000_000_000
"""One core examines 10 to 80 million a second: minutes."""


class TooLong(Exception):
    """The search would need more than it may; the text says of what."""


@dataclass
class Effort:
    """What all searches of one certificate may take together: candidates that have been examined, and the most.

    A set that is made is one candidate that has passed; sets are limited for memory as well.
    """

    most: int = MOST_CANDIDATES
    spent: int = 0

    def spend(self, candidates: int) -> None:
        """Take so many more.

        Raises:
            TooLong: beyond the most.
        """
        self.spent += candidates
        if self.spent > self.most:
            raise TooLong(f"{self.most:,} candidates")


def find_loss(
    m: int,
    rows: Ints,
    size: int,
    loss: int,
    known: Sequence[int],
    *,
    progress: bool,
    most_sets: int = MOST_SETS,
    effort: Effort | None = None,
) -> list[int] | None:
    """A set of at most ``size`` <= n columns with coll >= ``loss`` >= 1, or None: then no set of ``size`` columns has.

    (A superset has at least the same loss, so a set of fewer columns decides the matter.)

    Args:
        known: ``known[i]`` is at least the loss of every set of i columns, i = 1..size - 1.
        most_sets: sets that one search may make.
        effort: candidates that it may examine.

    Raises:
        TooLong: more than ``most_sets`` sets would have to be made, or more candidates examined.
    """
    effort = effort or Effort()
    least = {size: loss}
    for i in range(size, 2, -1):
        least[i - 1] = least[i] - min(rows.shape[1], 2 * least[i] // i)
    if size < 2 or any(least[i] > known[i] for i in range(2, size)):
        return None
    extension = Extension(m, rows)
    title = f"sets of {size} columns"
    level, made = Sets(np.empty((0, 2), np.int32), np.empty(0, np.int32)), 0
    for i in range(2, size + 1):
        if i == 2:
            parts = extension.pairs(least[2], progress=progress, what=f"{title}: pairs")
        else:
            parts = _grown(level, least[i], extension, effort, progress, f"{title}: {i - 1} to {i}")
        kept = [Sets(np.empty((0, i), np.int32), np.empty(0, np.int32))]
        for part in parts:
            if len(part) and part.losses.max() >= loss:
                return sorted(part.columns[part.losses.argmax()].tolist())
            made += len(part)
            if made > most_sets:
                raise TooLong(f"{most_sets:,} sets")
            kept.append(part)
        level = Sets(np.concatenate([p.columns for p in kept]), np.concatenate([p.losses for p in kept]))
    return None


def _grown(level: Sets, least: int, extension: Extension, effort: Effort, progress: bool, title: str) -> Iterator[Sets]:
    """All sets S + u of loss >= ``least``, S in ``level``, in which u is the column of least marginal loss.

    S lacks least - coll(S) of that loss, so u must meet so many rows of N(S): ceil(lack / |S|) of some column of S.
    """
    near = np.maximum(0, -((level.losses - least) // level.columns.shape[1]))  # -floor(-x) is ceil(x)
    for shared in np.unique(near).tolist():  # before any of it is done
        effort.spend(extension.candidates(level[np.nonzero(near == shared)[0]], shared))
    with progress_bar(total=len(level), show=progress, desc=title, unit="set") as bar:
        for shared in np.unique(near).tolist():
            places = np.nonzero(near == shared)[0]
            step = max(1, CELLS // extension.work(level.columns.shape[1], shared))
            for start in range(0, len(places), step):
                part = level[places[start : start + step]]
                grown = extension.grow(part, shared, least)
                yield grown[_last_is_least(grown.columns, extension.rows)]
                bar.update(len(part))


def _last_is_least(sets: Ints, rows: Ints) -> NDArray[np.bool_]:
    """Whether the last column of each set has its least (marginal loss, index)."""
    count, size = sets.shape
    d = rows.shape[1]
    result = np.empty(count, bool)
    step = max(1, CELLS // (size * d))
    for start in range(0, count, step):
        part = sets[start : start + step]
        met = rows[part].reshape(len(part), size * d)
        order = np.argsort(met, axis=1)
        ordered = np.take_along_axis(met, order, axis=1)
        same = ordered[:, 1:] == ordered[:, :-1]
        again = np.zeros(met.shape, bool)
        again[:, 1:] |= same
        again[:, :-1] |= same
        shared = np.empty_like(again)  # whether another column of the set meets that row too
        np.put_along_axis(shared, order, again, axis=1)
        marginal = shared.reshape(-1, size, d).sum(axis=2)
        last, others = marginal[:, -1:], marginal[:, :-1]
        before = (last < others) | ((last == others) & (part[:, -1:] < part[:, :-1]))
        result[start : start + step] = before.all(axis=1)
    return result
