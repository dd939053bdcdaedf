"""Endless shuffled batches of activations with bounded memory, from a store or straight from the model."""

from __future__ import annotations

import copy
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidArgument, require
from sae_bridge.activations._ahead import Ahead, Check, never
from sae_bridge.activations._shards import contexts_per_shard
from sae_bridge.activations._windows import Windows
from sae_bridge.activations.description import live_sha256
from sae_bridge.activations.harvest import Harvest
from sae_bridge.activations.store import ActivationStore
from sae_bridge.activations.text import Contexts
from sae_bridge.models import LanguageModel

STORED_BYTES = 4 << 30
"""Default window of a stored stream."""
LIVE_BYTES = 512 << 20
"""Default window of a live stream, which has to be computed before its first batch is there."""


class ActivationStream(Protocol):
    """What a trainer reads. Batch ``step`` is a function of (data, seed, step) alone."""

    @property
    def m(self) -> int:
        """Width of the activations."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows a batch."""
        ...

    @property
    def sha256(self) -> str:
        """Identity of the data."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the order."""
        ...

    @property
    def windows(self) -> int:
        """Pieces that a pass over the data is cut into; the order depends on it."""
        ...

    def batch(self, step: int) -> Tensor:
        """Batch ``step`` = 0, 1, ...: float32 (batch_size, m) on the CPU."""
        ...

    def sample(self, count: int) -> Tensor:
        """Draw at most ``count`` rows, float32 (rows, m) on the CPU, for the normalisation of an SAE."""
        ...


class _Windowed(ABC):
    """A stream of windows, of which the current one is in memory, in the dtype of its source.

    With ``prefetch`` the next window is made in a thread meanwhile, from the first batch of a window on; the batches
    are the same, and two windows are in memory. :meth:`close`, or leaving a ``with`` block, ends the thread.
    """

    def __init__(self, m: int, sha256: str, windows: Windows, batch_size: int, prefetch: bool) -> None:
        self.m, self.sha256, self.batch_size = m, sha256, int(batch_size)
        self._windows, self.seed, self.windows = windows, windows.seed, windows.count
        self._number = -1
        self._rows = torch.empty(0)
        self._order: NDArray[np.int64] = np.empty(0, np.int64)
        self._prefetch = prefetch and windows.count > 1
        self._ahead: Ahead | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is being made ahead, and let go of the window; the stream can be used again."""
        self._give_up()
        self._number, self._rows = -1, torch.empty(0)

    def batch(self, step: int) -> Tensor:
        """Batch ``step``: float32 (batch_size, m) on the CPU.

        Raises:
            InvalidArgument: a negative step, or a window in which nothing but outliers is left.
            InvalidFile: a damaged store.
        """
        window, place = self._windows.locate(step)
        self._open(window)
        if self._prefetch and self._ahead is None:
            contexts = self._windows.contexts(window + 1)
            self._ahead = Ahead(window + 1, lambda check: self._load(contexts, check))
        return self._taken(self._windows.batch(self._order, place))

    def sample(self, count: int) -> Tensor:
        """The first rows, at most ``count``, of the first window in its shuffled order, float32.

        All rows that count, if the window and ``count`` hold so many.
        """
        require(count >= 1, "count", count, "must be at least 1")
        self._open(0)
        return self._taken(self._order[:count])

    def _taken(self, rows: NDArray[np.int64]) -> Tensor:
        return self._rows[torch.from_numpy(rows)].float()

    def _open(self, window: int) -> None:
        if window == self._number:
            return
        same = self._number >= 0 and self.windows == 1  # every pass has the same contexts
        rows = self._rows if same else torch.empty(0)
        self._number, self._rows = -1, rows  # the old window goes before the new one comes
        if not same:
            rows = self._made(window)
        if not len(rows):
            raise InvalidArgument("policy", "outlier_ratio", f"leaves no row of window {window}")
        self._rows, self._order, self._number = rows, self._windows.order(window, len(rows)), window

    def _made(self, window: int) -> Tensor:
        if self._ahead is not None and self._ahead.window == window:
            rows = self._ahead.rows()
            self._ahead = None
            return rows
        self._give_up()
        return self._load(self._windows.contexts(window), never)

    def _give_up(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    @abstractmethod
    def _load(self, contexts: NDArray[np.int64], check: Check) -> Tensor:
        """The kept rows (rows, m) of some contexts, ascending; calls ``check`` now and then."""


class StoredStream(_Windowed):
    """Shuffled batches of a store's training activations.

    Args:
        store: where they lie.
        batch_size: rows a batch.
        seed: of the order (:mod:`sae_bridge.activations._windows` says how it is made).
        memory_bytes: what a window of rows, in the store's dtype, may take.
        prefetch: make the next window in a thread meanwhile, which takes as much again; the batches are the same.

    Raises:
        InvalidArgument: a bad seed or size, or a window that is smaller than a batch.
        InvalidFile: a damaged store.
    """

    def __init__(
        self,
        store: ActivationStore,
        batch_size: int,
        seed: int,
        memory_bytes: int = STORED_BYTES,
        *,
        prefetch: bool = False,
    ) -> None:
        self._store = store
        counts = store.policy.candidates(store.tokens("train").numpy()).sum(axis=1)
        most = _most_rows(memory_bytes, store.m, store.dtype)
        super().__init__(store.m, store.sha256, Windows(counts, batch_size, seed, most), batch_size, prefetch)

    def _load(self, contexts: NDArray[np.int64], check: Check) -> Tensor:
        return self._store.context_rows("train", contexts)


class LiveStream(_Windowed):
    """Training batches without a store: the contexts of a window are run through the model when it is needed.

    Every pass of more than one window runs the model again, so a store is faster where the disk has room and there is
    more than one pass. Rows and order are those of a :class:`StoredStream` on a harvest of the same contexts, up to
    rounding in the model's last bits: a window puts other contexts into one forward pass. Another stream of the same
    arguments gives the same bits on the CPU, whatever step it begins at.

    Args:
        model: to run.
        contexts: of the training text, as :meth:`Harvest.contexts` makes them.
        what: layer, hook, batch, dtype and policy.
        batch_size, seed, memory_bytes, prefetch: as for :class:`StoredStream`.
        done: called with the number of tokens of each batch that the model has run (by the thread of ``prefetch``).

    Attributes:
        about: the model, layer, hook and context length, as a store's description has them.

    Raises:
        InvalidArgument: as :class:`StoredStream` and :meth:`Harvest.tap`, or NaN activations.
    """

    def __init__(
        self,
        model: LanguageModel,
        contexts: Contexts,
        what: Harvest,
        batch_size: int,
        seed: int,
        memory_bytes: int = LIVE_BYTES,
        done: Callable[[int], object] = lambda tokens: None,
        *,
        prefetch: bool = False,
    ) -> None:
        self._tap = what.tap(_beside(model) if prefetch else model)
        self._tokens, self._done = contexts.tokens, done
        policy = self._tap.policy
        tokens_sha256 = hashlib.sha256(contexts.tokens.tobytes()).hexdigest()
        self.about: dict[str, Any] = {
            "model": model.name,
            "model_fingerprint": model.fingerprint,
            "layer": self._tap.layer,
            "hook": self._tap.hook,
            "context": what.context,
        }
        facts = {**self.about, "dtype": what.dtype, "policy": policy.as_fields()}
        sha256 = live_sha256({**facts, "tokens_sha256": {"train": tokens_sha256}})
        width = self._tap.width
        windows = Windows(
            policy.candidates(contexts.tokens).sum(axis=1),
            batch_size,
            seed,
            _most_rows(memory_bytes, width, self._tap.dtype),
        )
        super().__init__(width, sha256, windows, batch_size, prefetch)
        self._first = contexts_per_shard(width, contexts.tokens.shape[1], what.dtype)
        self._limit = math.inf if policy.outlier_ratio is None else None

    def _load(self, contexts: NDArray[np.int64], check: Check) -> Tensor:
        def done(tokens: int) -> None:
            self._done(tokens)
            check()

        if self._limit is None:  # by the contexts that a store has in its first shard
            self._limit = self._tap.first_rows(self._tokens[: self._first], done)[2]
        rows, _ = self._tap.rows(self._tokens[contexts], self._limit, done)
        return rows


def _beside(model: LanguageModel) -> LanguageModel:
    """The same model with hooks of its own, for a thread that runs it while others do; parameters are shared."""
    shared = {id(tensor): tensor for tensor in (*model.model.parameters(), *model.model.buffers())}
    return LanguageModel(model.name, copy.deepcopy(model.model, dict(shared)), model.tokenizer)


def _most_rows(memory_bytes: int, m: int, dtype: torch.dtype) -> int:
    require(memory_bytes >= 1, "memory_bytes", memory_bytes, "must be positive")
    return int(memory_bytes) // (m * dtype.itemsize)
