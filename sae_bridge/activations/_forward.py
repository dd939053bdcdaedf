"""The kept rows of activations of some contexts: what a harvest stores and a live stream trains on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidArgument
from sae_bridge.activations.token_policy import CountedPositions, norms_of
from sae_bridge.models import Hook, LanguageModel

Place = tuple[int, Hook]
"""Layer and hook."""


@dataclass(frozen=True)
class HookCapture:
    """A hook in a language model: where activations are captured, and which of them count.

    Attributes:
        model, layer, hook: as :meth:`LanguageModel.activations` takes them.
        policy: which positions count.
        dtype: what the activations are rounded to; everything is judged and used after that.
        batch: contexts per forward pass.
    """

    model: LanguageModel
    layer: int
    hook: Hook
    policy: CountedPositions
    dtype: torch.dtype
    batch: int

    @property
    def place(self) -> Place:
        """Layer and hook."""
        return self.layer, self.hook

    @cached_property
    def width(self) -> int:
        """Values of an activation there."""
        return self.model.width(self.layer, self.hook)

    def rows(
        self, tokens: NDArray[np.int32], limit: float, done: Callable[[int], object] = lambda tokens: None
    ) -> tuple[Tensor, NDArray[np.bool_]]:
        """Run the model over contexts.

        Args:
            tokens: (contexts, context).
            limit: positions of larger norm are outliers.
            done: called with the number of tokens of each batch that has been run.

        Returns:
            Activations (rows, width) of the kept positions in their order, on the CPU, and ``kept`` (contexts,
            context).

        Raises:
            InvalidArgument: the model gives NaN or infinity.
        """
        rows = torch.empty(int(self.policy.candidates(tokens).sum()), self.width, dtype=self.dtype)
        kept = np.zeros(tokens.shape, np.bool_)
        filled = 0
        for first in range(0, len(tokens), self.batch):
            here = slice(first, first + self.batch)
            batch = torch.from_numpy(tokens[here]).long()
            found, kept[here] = self.counted(tokens[here], hidden_at(self.model, batch, [self.place])[0], limit)
            rows[filled : filled + len(found)] = found
            filled += len(found)
            done(batch.numel())
        return rows[:filled], kept

    def counted(self, tokens: NDArray[np.int32], hidden: Tensor, limit: float) -> tuple[Tensor, NDArray[np.bool_]]:
        """What counts of one forward pass, as :meth:`rows` gives it.

        Args:
            tokens: (contexts, context).
            hidden: (contexts, context, width), what the model gave for them.
            limit: as in :meth:`rows`.
        """
        hidden = hidden.to("cpu", self.dtype)
        norms = norms_of(hidden)
        if not np.isfinite(norms).all():
            where = f"gives NaN or infinite activations at {self.hook} of layer {self.layer}"
            raise InvalidArgument("model", self.model.name, f"{where}: damaged weights, or too small a dtype")
        kept = self.policy.candidates(tokens) & (norms <= limit)
        return hidden[torch.from_numpy(kept)], kept

    def first_rows(
        self, tokens: NDArray[np.int32], done: Callable[[int], object] = lambda tokens: None
    ) -> tuple[Tensor, NDArray[np.bool_], float]:
        """Rows of the contexts of the first training shard, which decide the limit of the norm; it comes third."""
        return self.limited(*self.rows(tokens, math.inf, done))

    def limited(self, rows: Tensor, kept: NDArray[np.bool_]) -> tuple[Tensor, NDArray[np.bool_], float]:
        """The first training shard's candidates without outliers, and the limit of the norm that they decide."""
        norms = norms_of(rows)
        limit = self.policy.norm_limit(norms)
        inside = norms <= limit
        kept = kept.copy()
        kept[kept] = inside
        return rows[torch.from_numpy(inside)], kept, limit


def hidden_at(model: LanguageModel, tokens: Tensor, places: Sequence[Place]) -> list[Tensor]:
    """Activations (contexts, context, width) at every place, of one forward pass over tokens (contexts, context)."""
    if len(places) == 1:
        return [model.activations(tokens, *places[0])]
    return model.activations_at(tokens, places)
