"""Endless shuffled batches of activations with bounded memory, from a store or straight from the model."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidArgument, require
from expander_theory.results import canonical_json
from sae_bridge.activations._shards import contexts_per_shard
from sae_bridge.activations._windows import Windows
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
    """A stream of windows, of which the current one is in memory, in the dtype of its source."""

    def __init__(self, m: int, sha256: str, windows: Windows, batch_size: int) -> None:
        self.m, self.sha256, self.batch_size = m, sha256, int(batch_size)
        self._windows, self.seed, self.windows = windows, windows.seed, windows.count
        self._number = -1
        self._rows = torch.empty(0)
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def batch(self, step: int) -> Tensor:
        """Batch ``step``: float32 (batch_size, m) on the CPU.

        Raises:
            InvalidArgument: a negative step, or a window in which nothing but outliers is left.
            InvalidFile: a damaged store.
        """
        window, place = self._windows.locate(step)
        self._open(window)
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
        self._number, self._rows = -1, torch.empty(0)  # the old window goes before the new one comes
        rows = self._load(self._windows.contexts(window))
        if not len(rows):
            raise InvalidArgument("policy", "outlier_ratio", f"leaves no row of window {window}")
        self._rows, self._order, self._number = rows, self._windows.order(window, len(rows)), window

    @abstractmethod
    def _load(self, contexts: NDArray[np.int64]) -> Tensor:
        """The kept rows (rows, m) of some contexts, ascending."""


class StoredStream(_Windowed):
    """Shuffled batches of a store's training activations.

    Args:
        store: where they lie.
        batch_size: rows a batch.
        seed: of the order (:mod:`sae_bridge.activations._windows` says how it is made).
        memory_bytes: what a window of rows, in the store's dtype, may take.

    Raises:
        InvalidArgument: a bad seed or size, or a window that is smaller than a batch.
        InvalidFile: a damaged store.
    """

    def __init__(self, store: ActivationStore, batch_size: int, seed: int, memory_bytes: int = STORED_BYTES) -> None:
        self._store = store
        counts = store.policy.candidates(store.tokens("train").numpy()).sum(axis=1)
        most = _most_rows(memory_bytes, store.m, store.dtype)
        super().__init__(store.m, store.sha256, Windows(counts, batch_size, seed, most), batch_size)

    def _load(self, contexts: NDArray[np.int64]) -> Tensor:
        return self._store.context_rows("train", contexts)


class LiveStream(_Windowed):
    """Training batches without a store: the contexts of a window are run through the model when it is needed.

    Every pass runs the model again, so a store is faster where the disk has room and there is more than one pass.
    Rows and order are those of a :class:`StoredStream` on a harvest of the same contexts, up to rounding in the
    model's last bits.

    Args:
        model: to run.
        contexts: of the training text, as :meth:`Harvest.contexts` makes them.
        what: layer, hook, batch, dtype and policy.
        batch_size, seed, memory_bytes: as for :class:`StoredStream`.
        done: called with the number of tokens of each batch that the model has run.

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
    ) -> None:
        self._tap, self._tokens, self._done = what.tap(model), contexts.tokens, done
        policy = self._tap.policy
        about = {
            "kind": "live activations",
            "model_fingerprint": model.fingerprint,
            "layer": self._tap.layer,
            "hook": what.hook,
            "dtype": what.dtype,
            "policy": policy.as_fields(),
            "tokens_sha256": hashlib.sha256(contexts.tokens.tobytes()).hexdigest(),
        }
        sha256 = hashlib.sha256(canonical_json(about).encode()).hexdigest()
        most = _most_rows(memory_bytes, model.m, self._tap.dtype)
        windows = Windows(policy.candidates(contexts.tokens).sum(axis=1), batch_size, seed, most)
        super().__init__(model.m, sha256, windows, batch_size)
        self._limit = math.inf
        if policy.outlier_ratio is not None:
            first = contexts.tokens[: contexts_per_shard(model.m, contexts.tokens.shape[1], what.dtype)]
            _, _, self._limit = self._tap.first_rows(first, done)

    def _load(self, contexts: NDArray[np.int64]) -> Tensor:
        rows, _ = self._tap.rows(self._tokens[contexts], self._limit, self._done)
        return rows


def _most_rows(memory_bytes: int, m: int, dtype: torch.dtype) -> int:
    require(memory_bytes >= 1, "memory_bytes", memory_bytes, "must be positive")
    return int(memory_bytes) // (m * dtype.itemsize)
