"""The order in which a stream shows its rows: shuffled, with no more than a window of them in memory.

A pass over the data is a permutation of all contexts, cut into windows of nearly equal numbers of contexts. The rows
of a window are permuted, and its batches are consecutive pieces of that; an incomplete last batch is dropped. With
one window this is the uniform permutation of all rows.

How many batches a window has depends on the tokens alone (the positions that count by place and id), so that a
stream without a store knows its plan before the model has run, and step s needs no earlier step. Outliers are known
only with the activations: they are passed over, and where a window holds more of them than its incomplete last batch
had room for, its last batch is filled up with the window's first rows.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import generator, require, require_int, require_seed


class Windows:
    """The plan of a stream.

    Args:
        counts: positions of each context that count by place and id, shape (contexts,).
        batch_size: rows a batch.
        seed: of all permutations.
        most_rows: rows that a window may hold.

    Raises:
        InvalidArgument: a bad seed or size, a window that holds no context, or fewer rows than a batch.
    """

    def __init__(self, counts: NDArray[np.integer], batch_size: int, seed: int, most_rows: int) -> None:
        require_seed(seed)
        require(require_int("batch_size", batch_size) >= 1, "batch_size", batch_size, "must be at least 1")
        self._counts = np.asarray(counts, np.int64)
        self._batch, self.seed = int(batch_size), int(seed)
        each = most_rows // max(1, int(self._counts.max()))
        longest = int(self._counts.max())
        require(each >= 1, "memory_bytes", f"for {most_rows} rows", f"must hold a context's {longest} rows")
        total = len(self._counts)
        self.count = -(-total // each)
        self._borders = np.arange(self.count + 1) * total // self.count
        fewest = int(np.sort(self._counts)[: total // self.count].sum())
        held = f"must be at most {fewest}, the rows that are sure to be in each of {self.count} windows"
        require(fewest >= self._batch, "batch_size", batch_size, held + (self.count > 1) * " (or give more memory)")
        self._ends: list[int] = []  # batches up to the end of each window of each pass so far
        self._pass = lru_cache(maxsize=2)(self._permuted)

    def locate(self, step: int) -> tuple[int, int]:
        """The window (counted through all passes) and the batch in it of a step, both from 0.

        Raises:
            InvalidArgument: a negative step.
        """
        require(require_int("step", step) >= 0, "step", step, "must not be negative")
        while not self._ends or self._ends[-1] <= step:
            order = self._pass(len(self._ends) // self.count)
            rows = np.add.reduceat(self._counts[order], self._borders[:-1])
            before = self._ends[-1] if self._ends else 0
            self._ends += (before + np.cumsum(rows // self._batch)).tolist()
        window = bisect_right(self._ends, step)
        return window, step - (self._ends[window - 1] if window else 0)

    def contexts(self, window: int) -> NDArray[np.int64]:
        """Numbers of a window's contexts, ascending."""
        number, place = divmod(window, self.count)
        return np.sort(self._pass(number)[self._borders[place] : self._borders[place + 1]])

    def order(self, window: int, rows: int) -> NDArray[np.int64]:
        """The permutation of a window's rows (those of its contexts in ascending order, without outliers)."""
        return generator(self.seed, f"rows of window {window}").permutation(rows)

    def batch(self, order: NDArray[np.int64], place: int) -> NDArray[np.int64]:
        """The rows of batch ``place`` of a window, given its order."""
        first = place * self._batch
        return order.take(np.arange(first, first + self._batch), mode="wrap")

    def _permuted(self, number: int) -> NDArray[np.int64]:
        return generator(self.seed, f"contexts of pass {number}").permutation(len(self._counts))
