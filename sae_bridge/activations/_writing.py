"""The shards of one place that are missing, filled by forward passes that several places share."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_bridge.activations._forward import HookCapture
from sae_bridge.activations._shards import Shard, Shards
from sae_bridge.activations.text import Contexts


class PlaceWriter:
    """Takes what the model gives for consecutive contexts, and writes each shard when it is full.

    Shards of places of different widths hold different numbers of contexts, so that a batch may end one and begin the
    next. One shard is in memory at a time.

    Args:
        tap: the place.
        shards: of its store; those that are there are left alone.
        contexts: of both splits.

    Raises:
        InvalidFile: the first training shard is there, but damaged.
    """

    def __init__(self, tap: HookCapture, shards: Shards, contexts: Mapping[str, Contexts]) -> None:
        self.tap, self.shards = tap, shards
        self._contexts = contexts
        self._todo = set(shards.missing())
        # The first training shard decides the limit; until it is whole, all its candidates are held.
        known = bool(self._todo) and ("train", 0) not in self._todo
        self._limit = shards.read("train", 0).norm_limit if known else None
        self._rows, self._filled = torch.empty(0), 0
        self._kept: NDArray[np.bool_] = np.empty(0, np.bool_)

    def wants(self, split: str, part: slice) -> bool:
        """Whether contexts ``part`` of a split are needed for a shard that is not there yet."""
        return any((split, index) in self._todo for index in self.shards.overlapping(split, part))

    def take(self, split: str, part: slice, hidden: Tensor) -> None:
        """Add what the model gave for contexts ``part``, (contexts, context, width); they come in their order.

        Raises:
            InvalidArgument: NaN or infinity.
            OSError: full or read-only disk; it names the file.
        """
        for index in self.shards.overlapping(split, part):
            if (split, index) not in self._todo:
                continue
            whole = self.shards.contexts(split, index)
            first, last = max(part.start, whole.start), min(part.stop, whole.stop)
            if first == whole.start:
                self._begin(split, whole)
            tokens = self._contexts[split].tokens[first:last]
            limit = math.inf if self._limit is None else self._limit
            rows, kept = self.tap.counted(tokens, hidden[first - part.start : last - part.start], limit)
            self._rows[self._filled : self._filled + len(rows)] = rows
            self._kept[first - whole.start : last - whole.start] = kept
            self._filled += len(rows)
            if last == whole.stop:
                self._write(split, index, whole)

    def _begin(self, split: str, whole: slice) -> None:
        candidates = self.tap.policy.candidates(self._contexts[split].tokens[whole])
        self._rows = torch.empty(int(candidates.sum()), self.tap.width, dtype=self.tap.dtype)
        self._kept, self._filled = np.zeros(candidates.shape, np.bool_), 0

    def _write(self, split: str, index: int, whole: slice) -> None:
        rows, kept = self._rows[: self._filled], self._kept
        if self._limit is None:
            rows, kept, self._limit = self.tap.limited(rows, kept)
        contexts = self._contexts[split]
        shard = Shard(contexts.tokens[whole], contexts.documents[whole], kept, rows, self._limit)
        self.shards.write(split, index, shard)
        self._todo.remove((split, index))
        self._rows = torch.empty(0)
