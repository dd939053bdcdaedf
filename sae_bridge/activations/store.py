"""A harvested folder, opened for reading."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidFile, require, require_choice
from expander_theory.results import canonical_json, stored_sha256
from sae_bridge.activations._shards import DTYPES, Shard, Shards
from sae_bridge.activations.description import NAME, SPLITS, identity, live_sha256, read_description
from sae_bridge.activations.token_policy import CountedPositions


@dataclass(frozen=True)
class _Table:
    """Everything of a split but its activations: 5 bytes a token."""

    tokens: NDArray[np.int32]
    documents: NDArray[np.int32]
    kept: NDArray[np.bool_]


class ActivationStore:
    """A harvested folder.

    The first call that needs a split reads all its shards once and checks them (hash, harvest, NaN); after that,
    parts of shards are read without checking again.

    Args:
        folder: where :func:`sae_bridge.activations.harvest` wrote.

    Attributes:
        folder: the same.
        description: its ``activations.json``.
        policy: which positions count, in token ids.
        dtype: of the activations on disk, torch.float32 or torch.bfloat16.

    Raises:
        InvalidFile: no store, an older format, an unfinished harvest, or a damaged shard (on reading it).
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.description: dict[str, Any] = read_description(self.folder)
        try:
            self.policy = CountedPositions.from_fields(self.description["policy"])
        except TypeError:
            raise InvalidFile(self.folder / NAME, "damaged: it has another policy than is known") from None
        self.dtype = DTYPES[self.description["dtype"]]
        self._shards = Shards(self.folder, self.description)
        self._tables: dict[str, _Table] = {}
        self._rows: dict[str, Tensor] = {}
        missing = len(self._shards.missing())
        if missing:
            raise InvalidFile(self.folder, f"the harvest is not finished: {missing} shards missing; run it again")

    @property
    def m(self) -> int:
        """Width of the activations."""
        return self.description["m"]

    @cached_property
    def sha256(self) -> str:
        """Hash of the description (without spellings of paths) and of every shard's content."""
        shards = [stored_sha256(self._shards.path(split, index)) for split, index in self._shards.all()]
        return hashlib.sha256(canonical_json([identity(self.description), shards]).encode()).hexdigest()

    @property
    def live_sha256(self) -> str:
        """What a :class:`sae_bridge.activations.LiveStream` of the same training activations is known by."""
        return live_sha256(self.description)

    @cached_property
    def norm_limit(self) -> float:
        """Tokens of larger norm are outliers; infinite where the policy has no such limit."""
        return self._shards.read("train", 0).norm_limit

    def tokens(self, split: str) -> Tensor:
        """Token ids (contexts, context) of a split, int64."""
        return torch.from_numpy(self._table(split).tokens).long()

    def documents(self, split: str) -> NDArray[np.int32]:
        """Number of the document that each context of a split came from, shape (contexts,)."""
        return self._table(split).documents

    def kept(self, split: str) -> Tensor:
        """Which positions count: bool (contexts, context)."""
        return torch.from_numpy(self._table(split).kept)

    def count(self, split: str) -> int:
        """Number of positions of a split that count."""
        return int(self._table(split).kept.sum())

    def rows(self, split: str) -> Tensor:
        """Activations (count, m) of the positions that count, float32, all in memory; kept there once read."""
        if split not in self._rows:
            rows = torch.empty(self.count(split), self.m)
            filled = 0
            for part in self._parts(split):
                rows[filled : filled + len(part)] = part
                filled += len(part)
            self._rows[split] = rows
        return self._rows[split]

    def batches(self, split: str, size: int) -> Iterator[Tensor]:
        """The rows of :meth:`rows` in the same order, ``size`` at a time (the last fewer), float32.

        Memory: one batch and one shard.

        Raises:
            InvalidArgument: a size below 1.
        """
        require(size >= 1, "size", size, "must be at least 1")
        waiting: list[Tensor] = []
        count = 0
        for part in self._parts(split):
            while len(part):
                taken, part = part[: size - count], part[size - count :]
                waiting.append(taken)
                count += len(taken)
                if count == size:
                    yield torch.cat(waiting).float()
                    waiting, count = [], 0
        if waiting:
            yield torch.cat(waiting).float()

    def context_rows(self, split: str, contexts: NDArray[np.integer]) -> Tensor:
        """Activations (rows, m) of the positions that count in some contexts of a split, in the stored dtype.

        Args:
            contexts: numbers of contexts, ascending. Only their part of the shards is read.

        Raises:
            InvalidArgument: contexts that are not there, or not ascending.
        """
        kept = self._table(split).kept.sum(axis=1)
        contexts = np.asarray(contexts)
        ascending = contexts.ndim == 1 and contexts.dtype.kind in "iu" and bool((np.diff(contexts) > 0).all())
        inside = ascending and (contexts.size == 0 or (contexts[0] >= 0 and contexts[-1] < len(kept)))
        require(inside, "contexts", contexts, f"must be ascending integers in 0..{len(kept) - 1}")
        rows = torch.empty(int(kept[contexts].sum()), self.m, dtype=self.dtype)
        filled = 0
        for index in range(self._shards.count(split)):
            inside = self._shards.contexts(split, index)
            ends = np.concatenate([[0], kept[inside].cumsum()])
            first, last = np.searchsorted(contexts, (inside.start, inside.stop))
            here = contexts[first:last] - inside.start
            for run in np.split(here, np.flatnonzero(np.diff(here) != 1) + 1) if len(here) else ():
                begin, end = int(ends[run[0]]), int(ends[run[-1] + 1])
                if begin == end:  # no position of these contexts counts; safetensors refuses empty slices
                    continue
                found = self._shards.read_rows(split, index, begin, end)
                rows[filled : filled + len(found)] = found
                filled += len(found)
        return rows

    def _parts(self, split: str) -> Iterator[Tensor]:
        """The rows shard by shard, in the stored dtype."""
        self._table(split)
        for index in range(self._shards.count(split)):
            yield self._shards.read(split, index).rows

    def _table(self, split: str) -> _Table:
        require_choice("split", split, SPLITS)
        if split not in self._tables:
            shards = [self._small(split, index) for index in range(self._shards.count(split))]
            table = _Table(*(np.concatenate(arrays) for arrays in zip(*shards, strict=True)))
            if hashlib.sha256(table.tokens.tobytes()).hexdigest() != self.description["tokens_sha256"].get(split):
                raise InvalidFile(self.folder, f"its {split} shards do not hold the tokens of {NAME}")
            self._tables[split] = table
        return self._tables[split]

    def _small(self, split: str, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        shard: Shard = self._shards.read(split, index)
        if shard.norm_limit != self.norm_limit:
            path = self._shards.path(split, index)
            raise InvalidFile(path, "has another limit of the norm than the first training shard; harvest again")
        return shard.tokens, shard.documents, shard.kept
