"""Normalisations that SAELens applies to each token before an SAE codes it, and undoes after it decoded.

With y = (h - a) / c coded and y_hat its reconstruction, h_hat = b y_hat + a, all three numbers depending on the token:

- "layer_norm": a its mean, b its standard deviation (unbiased), c = b + 1e-5;
- "constant_norm_rescale": a = 0, b = c = ||h|| / sqrt(m).

(Checked against SAELens 6.54, ``SAE._setup_activation_normalization``.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from expander_theory.base import require, require_choice

NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
_EPSILON = 1e-5


class TokenNorms(NamedTuple):
    """a, c and b of a batch, (B, 1) each."""

    shift: Tensor
    divisor: Tensor
    factor: Tensor

    def normalised(self, h: Tensor) -> Tensor:
        """(h - a) / c, (B, m)."""
        return (h - self.shift) / self.divisor

    def restored(self, y: Tensor) -> Tensor:
        """b y + a, (B, m)."""
        return y * self.factor + self.shift


def token_norms(h: Tensor, how: str) -> TokenNorms:
    """The numbers of tokens h (B, m).

    Args:
        how: "layer_norm" or "constant_norm_rescale".

    Raises:
        InvalidArgument: another ``how``; a token of norm zero, where "constant_norm_rescale" is 0 / 0; one entry a
            token, which has no standard deviation.
    """
    require_choice("how", how, NORMALISATIONS[1:])
    m = h.shape[1]
    if how == "layer_norm":
        require(m >= 2, "h", f"tensor of shape {tuple(h.shape)}", "must have at least 2 entries a token: layer_norm")
        mean = h.mean(dim=1, keepdim=True)
        deviation = (h - mean).std(dim=1, keepdim=True)
        return TokenNorms(mean, deviation + _EPSILON, deviation)
    size = torch.linalg.vector_norm(h, dim=1, keepdim=True) / m**0.5
    require(bool((size > 0).all()), "h", "a token of norm zero", f"must have tokens of positive norm: {how}")
    return TokenNorms(torch.zeros_like(size), size, size)
