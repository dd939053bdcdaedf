"""Batches of activations with known features, as a trainer reads them: drawn when they are asked for, none twice."""

from __future__ import annotations

import torch
from torch import Tensor

from expander_theory.base import require, require_int, require_seed
from sae_bridge.synthetic.planted import PlantedFeatures

_PIECE = 1024
"""Tokens drawn at once: memory stays bounded, and no result depends on a batch size but a stream's own."""


class PlantedStream:
    """An :class:`sae_bridge.activations.ActivationStream` of fresh draws: batch ``step`` depends on (law, seed, step).

    Args:
        features: what is drawn from.
        batch_size: rows a batch.
        seed: of the draws.

    Raises:
        InvalidArgument: a bad seed or size.
    """

    def __init__(self, features: PlantedFeatures, batch_size: int, seed: int = 0) -> None:
        require_seed(seed)
        require(require_int("batch_size", batch_size) >= 1, "batch_size", batch_size, "must be at least 1")
        self.features, self.batch_size, self.seed, self.windows = features, int(batch_size), int(seed), 1

    @property
    def m(self) -> int:
        """Width of the activations."""
        return self.features.law.m

    @property
    def sha256(self) -> str:
        """Identity of the data."""
        return self.features.sha256

    def batch(self, step: int) -> Tensor:
        """Batch ``step``, float32 (batch_size, m) on the CPU.

        Raises:
            InvalidArgument: a negative step.
        """
        require(require_int("step", step) >= 0, "step", step, "must not be negative")
        return torch.from_numpy(self.features.draw(self.batch_size, f"batches {self.seed}", int(step))[0])

    def sample(self, count: int) -> Tensor:
        """``count`` rows of a stream of their own, float32."""
        require(count >= 1, "count", count, "must be at least 1")
        pieces = [
            self.features.draw(min(_PIECE, count - start), f"sample {self.seed}", start // _PIECE)[0]
            for start in range(0, count, _PIECE)
        ]
        return torch.cat([torch.from_numpy(piece) for piece in pieces])
