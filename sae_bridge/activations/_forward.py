"""The kept rows of residual stream of some contexts: what a harvest stores and a live stream trains on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidArgument
from sae_bridge.activations.token_policy import CountedPositions, norms_of
from sae_bridge.models import Hook, LanguageModel


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

    def rows(
        self, tokens: NDArray[np.int32], limit: float, done: Callable[[int], object] = lambda tokens: None
    ) -> tuple[Tensor, NDArray[np.bool_]]:
        """Run the model over contexts.

        Args:
            tokens: (contexts, context).
            limit: positions of larger norm are outliers.
            done: called with the number of tokens of each batch that has been run.

        Returns:
            Activations (rows, m) of the kept positions in their order, on the CPU, and ``kept`` (contexts, context).

        Raises:
            InvalidArgument: the model gives NaN or infinity.
        """
        kept = self.policy.candidates(tokens)
        rows = torch.empty(int(kept.sum()), self.model.m, dtype=self.dtype)
        filled = 0
        for first in range(0, len(tokens), self.batch):
            here = slice(first, first + self.batch)
            batch = torch.from_numpy(tokens[here]).long()
            hidden = self.model.activations(batch, self.layer, self.hook).to("cpu", self.dtype)
            norms = norms_of(hidden)
            if not np.isfinite(norms).all():
                where = f"gives NaN or infinite activations at {self.hook} of layer {self.layer}"
                raise InvalidArgument("model", self.model.name, f"{where}: damaged weights, or too small a dtype")
            kept[here] &= norms <= limit
            found = hidden[torch.from_numpy(kept[here])]
            rows[filled : filled + len(found)] = found
            filled += len(found)
            done(batch.numel())
        return rows[:filled], kept

    def first_rows(
        self, tokens: NDArray[np.int32], done: Callable[[int], object] = lambda tokens: None
    ) -> tuple[Tensor, NDArray[np.bool_], float]:
        """Rows of the contexts of the first training shard, which decide the limit of the norm; it comes third."""
        rows, kept = self.rows(tokens, math.inf, done)
        norms = norms_of(rows)
        limit = self.policy.norm_limit(norms)
        inside = norms <= limit
        kept[kept] = inside
        return rows[torch.from_numpy(inside)], kept, limit
