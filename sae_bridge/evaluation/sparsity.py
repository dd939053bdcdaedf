"""How many features a token has, where the SAE does not fix it: what nulls and pursuits beside it are given."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sae_bridge.activations import ActivationStore
from sae_bridge.sae import THRESHOLDED


class _Coded(Protocol):
    @property
    def k(self) -> int: ...
    @property
    def b_dec(self) -> Tensor: ...
    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]: ...


@torch.no_grad()
def active_features(sae: _Coded, store: ActivationStore, batch: int = 4096) -> int:
    """Active features a token that codes beside an SAE get, for the comparison to be one at the same mean L0.

    k; for JumpReLU and Gated, whose k is what training aimed at or, with a given weight of the penalty, says nothing,
    the mean L0 at the held-out positions that count, rounded, and at least 1.

    Args:
        sae: in evaluation mode, of the store's width.
        store: of activations.
        batch: positions at a time.
    """
    if getattr(sae, "activation", None) not in THRESHOLDED:
        return sae.k
    like, active = sae.b_dec, 0
    for part in store.batches("held_out", batch):
        acts, _ = sae.encode(part.to(like.device, like.dtype))
        active += int((acts != 0).sum())
    return max(1, round(active / store.count("held_out")))
