"""JumpReLU SAEs: the reconstruction error and a penalty on L0 itself (Rajamanoharan et al. 2024b, arXiv 2407.14435)."""

from __future__ import annotations

from torch import Tensor

from sae_bridge.sae import SparseAutoencoder
from sae_bridge.training.objectives._reconstruction import Objective, Outcome
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training

TARGET_WEIGHT = 10.0
"""Of the quadratic penalty. The paper gives none; with 1, as in dictionary_learning, L0 settles some 5 % above k, where
the slope of the penalty balances what one more feature takes off the error. With 10 it is about 1 %."""


class JumpReLUObjective(Objective):
    """||W code - x||^2 / m + lambda (L0 / k - 1)^2, or + lambda L0 with the recipe's ``sparsity_weight`` as lambda.

    L0 is the mean over the whole batch. The first keeps mean L0 at k; the second is the paper's main objective. The
    paper scales activations to E||h||^2 = 1; here it is m, and the error is divided by m, so that lambda means the
    same; its bandwidth of .001 is .001 sqrt(m) here. lambda rises linearly from 0 over ``sparsity_warm_up``.
    """

    def __init__(self, how: Training, sae: SparseAutoencoder, world: World) -> None:
        super().__init__(sae, world)
        self._how = how
        self._bandwidth = how.bandwidth * sae.m**0.5

    def __call__(self, x: Tensor, target: Tensor, step: int) -> Outcome:
        acts, indices, gates = self.sae.thresholded(x, self._bandwidth)
        outcome = self._outcome(acts, indices, target)
        active, weight = gates.sum() / len(x), self._how.sparsity_weight
        share = self._how.sparsity_share_at(step)
        if weight is not None:
            return outcome._replace(loss=outcome.loss + share * weight * active)
        # The square is of the mean over all processes, whose gradients are averaged: its derivative is that mean's.
        excess = self.world.mean(active.detach().clone()) / self.sae.k - 1
        slope = 2 * excess * (active - active.detach()) / self.sae.k
        return outcome._replace(loss=outcome.loss + share * TARGET_WEIGHT * (excess.square() + slope))
