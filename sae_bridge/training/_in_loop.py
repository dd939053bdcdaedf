"""OMP codes of a batch on the decoder as it is now, for dictionary learning."""

from __future__ import annotations

import torch
from torch import Tensor

from expander_theory.solvers import omp
from sae_bridge.codes import TensorDictionary, decoder_of, torch_omp
from sae_bridge.sae import SparseAutoencoder


def pursuit_codes(sae: SparseAutoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """OMP codes of centred activations x (B, m): acts (B, k) of free sign, feature indices (B, k) int64; constants.

    They do not depend on ``b_enc``; it is added times 0 so that it has a gradient, as every parameter in training has.
    """
    dictionary = decoder_of(sae)
    if x.is_cuda:
        found = torch_omp(TensorDictionary.of(dictionary, sae.b_dec.detach()), x.detach(), sae.k)
        acts, indices = found.coefficients, found.indices.clamp_min(0)
    else:
        recovery = omp(dictionary, x.detach().numpy(), sae.k, n_jobs=-1)
        acts = torch.from_numpy(recovery.coefficients).to(x.dtype)
        indices = torch.from_numpy(recovery.indices.clip(min=0)).long()
    return acts + 0 * sae.b_enc[indices], indices
