"""The reconstruction error: all that TopK, BatchTopK and pursuits minimise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from sae_bridge.sae import SparseAutoencoder
from sae_bridge.training.parallel import World

Coded = Callable[[SparseAutoencoder, Tensor], tuple[Tensor, Tensor]]


class Outcome(NamedTuple):
    """One batch of B tokens, coded and decoded.

    Attributes:
        acts, indices: codes, (B, K).
        combined: W code, (B, m).
        residual: W code less what it is compared with, (B, m).
        error: mean squared norm of the residuals, a scalar.
        loss: to be minimised, a scalar; scaled so that predicting zero costs 1.
    """

    acts: Tensor
    indices: Tensor
    combined: Tensor
    residual: Tensor
    error: Tensor
    loss: Tensor


class Objective:
    """||W code - x||^2 / m, the mean over a batch.

    Args:
        sae: what is trained.
        world: the processes that share its batches.
        coded: how x is coded; None: as the SAE does.
    """

    def __init__(self, sae: SparseAutoencoder, world: World, coded: Coded | None = None) -> None:
        self.sae, self.world = sae, world
        self._coded = coded

    def __call__(self, x: Tensor, target: Tensor, step: int) -> Outcome:
        """What a batch costs.

        Args:
            x: what is coded, (B, m).
            target: what W code is compared with, (B, m): x itself for an SAE.
            step: optimiser steps so far.
        """
        acts, indices = self.sae.code(x) if self._coded is None else self._coded(self.sae, x)
        return self._outcome(acts, indices, target)

    def _outcome(self, acts: Tensor, indices: Tensor, target: Tensor) -> Outcome:
        combined = self.sae.combine(acts, indices, trusted=True)
        residual = combined - target
        error = residual.square().sum() / len(target)
        return Outcome(acts, indices, combined, residual, error, error / self.sae.m)

    def after_step(self, active: Tensor) -> None:
        """Take notice of a step.

        Args:
            active: mean number of active features in this process's batch, a scalar.
        """

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on beside the SAE: scalars by name, float64 on the CPU."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a :meth:`state`."""
