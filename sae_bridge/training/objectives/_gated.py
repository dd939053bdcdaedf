"""Gated SAEs: a gate that an L1 penalty and a reconstruction of its own train (Rajamanoharan et al. 2024a)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from expander_theory.base import require
from sae_bridge.sae import SparseAutoencoder
from sae_bridge.training.objectives._reconstruction import Objective, Outcome
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training

FIRST_WEIGHT = 0.2
"""lambda before the first step, where it is steered."""
GAIN, DAMPING = 0.05, 1.0
_LARGEST_ERROR = 1.0
_LOWEST, _HIGHEST = math.log(1e-6), math.log(1e3)  # of the integral, where L0 cannot become k


class GatedObjective(Objective):
    """||W code - x||^2 / m + lambda ||ReLU(pi)||_1 / sqrt(m) + ||W' ReLU(pi) - x||^2 / m, W' constant.

    pi are the gate's scores (:mod:`sae_bridge.sae.thresholded`; arXiv 2404.16014, equation 8); the last term, in which
    b_dec is constant too, trains the gate alone. Divided as they are, the terms are those of activations with
    E||h||^2 = 1, and lambda means the same at every width.

    lambda is the recipe's ``sparsity_weight``, or steered so that mean L0 becomes k: with e = log(L0 / k) of the last
    step, clipped to [-1, 1], log lambda = integral + DAMPING e, where the integral grows by GAIN e a step. The control
    is a function of the batches, and part of the checkpoint: a run goes on to the bit. lambda rises linearly from
    0 over ``sparsity_warm_up``.
    """

    def __init__(self, how: Training, sae: SparseAutoencoder, world: World) -> None:
        super().__init__(sae, world)
        self._how = how
        self._integral, self._error = math.log(FIRST_WEIGHT), 0.0

    @property
    def weight(self) -> float:
        """lambda of the next step, before the warm-up."""
        given = self._how.sparsity_weight
        return math.exp(self._integral + DAMPING * self._error) if given is None else given

    def __call__(self, x: Tensor, target: Tensor, step: int) -> Outcome:
        sae = self.sae
        acts, indices, gates = sae.thresholded(x)
        outcome = self._outcome(acts, indices, target)
        l1 = gates.sum() / len(x) / sae.m**0.5
        by_gate = sae.combine(gates, indices, trusted=True, frozen=True) - target.detach()
        auxiliary = by_gate.square().sum() / len(x) / sae.m
        weight = self._how.sparsity_share_at(step) * self.weight
        return outcome._replace(loss=outcome.loss + weight * l1 + auxiliary)

    def after_step(self, active: Tensor) -> None:
        if self._how.sparsity_weight is not None:
            return
        error = math.log(max(float(self.world.mean(active.clone())), 1e-6) / self.sae.k)
        self._error = max(-_LARGEST_ERROR, min(_LARGEST_ERROR, error))
        self._integral = max(_LOWEST, min(_HIGHEST, self._integral + GAIN * self._error))

    def state(self) -> dict[str, Tensor]:
        return {
            "objective.integral": torch.tensor(self._integral, dtype=torch.float64),
            "objective.error": torch.tensor(self._error, dtype=torch.float64),
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        integral, error = (float(state[f"objective.{name}"]) for name in ("integral", "error"))
        require(abs(error) <= _LARGEST_ERROR, "objective.error", error, f"must be at most {_LARGEST_ERROR} in modulus")
        within = _LOWEST <= integral <= _HIGHEST
        require(within, "objective.integral", integral, f"must be between {_LOWEST:.3g} and {_HIGHEST:.3g}")
        self._integral, self._error = integral, error
