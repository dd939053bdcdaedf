"""A loss of two terms: the reconstruction error, and the KL divergence of the language model's output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from expander_theory.base import require, require_choice
from sae_bridge.codes import differentiable_codes
from sae_bridge.sae import SparseAutoencoder

Codes = Literal["exact", "constant"]


@dataclass(frozen=True)
class Finetuning:
    """How the KL divergence enters the loss of a short finetune (after Karvonen 2025, arXiv 2503.17272).

    Attributes:
        weight: of the KL term against the reconstruction error; both have the same value before it (see
            :func:`balanced`). 0 is the control: the same tokens and rate, and the reconstruction error alone.
        codes: what the gradient of the KL term knows of the codes. "exact": that they follow the parameters, through
            the encoder or, for a pursuit, by least squares on the support that it found
            (:func:`sae_bridge.codes.differentiable_codes`). "constant": nothing, for a pursuit only. The reconstruction
            error's gradient is the same with both; the KL divergence's is incomplete with constant codes.

    Raises:
        InvalidArgument: a weight or codes out of range.
    """

    weight: float = 1.0
    codes: Codes = "exact"

    def __post_init__(self) -> None:
        good = 0 <= self.weight < math.inf
        require(good, "weight", self.weight, "must be finite and at least 0")
        require_choice("codes", self.codes, Codes.__args__)

    def coded(self, sae: SparseAutoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (acts, indices) of centred activations x (B, m), as differentiable as the choice of ``codes`` says."""
        acts, indices = sae.code(x)
        if sae.pursuit is not None and self.codes == "exact" and self.weight > 0:
            acts = differentiable_codes(sae, x, acts, indices)
        return acts, indices


def balanced(error: Tensor, kl: Tensor, weight: float) -> Tensor:
    """error + weight (error / kl) kl, the factor in parentheses a constant for the gradient, renewed in every step.

    Both terms then have the same value at weight 1, whatever their scales are and however they change, and a learning
    rate that fits the reconstruction error fits the sum: the rule of Karvonen 2025.

    Args:
        error: reconstruction error, a scalar.
        kl: KL divergence in nats, a scalar, >= 0.
        weight: of the second term.
    """
    factor = error.detach() / kl.detach().clamp_min(torch.finfo(kl.dtype).tiny)
    return error + weight * factor * kl
