"""What it takes to encode a token."""

from __future__ import annotations

import time

import torch

from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation.evaluate import AnySAE

_TOKENS, _PASSES = 1024, 3


@torch.no_grad()
def encode_microseconds(sae: AnySAE, store: ActivationStore) -> float:
    """Microseconds a token of ``sae.encode``, in one batch of held-out activations: the least of a few passes.

    Args:
        sae: in evaluation mode; it encodes where it lies, with the threads that torch has.
        store: activations of its width.
    """
    h = store.rows("held_out")[:_TOKENS].to(sae.device, sae.weight.dtype)
    seconds = []
    for _ in range(1 + _PASSES):  # the first one compiles and prepares
        begun = time.perf_counter()
        acts, _ = sae.encode(h)
        acts.sum().item()  # which waits for a device
        seconds.append(time.perf_counter() - begun)
    return 1e6 * min(seconds[1:]) / len(h)
