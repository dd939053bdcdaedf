"""What a code that has learned nothing scores: the least that a trained SAE of the same k has to beat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import require, require_int
from expander_theory.masks import Mask
from sae_bridge.sae.sae import ExpanderSAE


def coordinate_null(mean: Tensor, k: int) -> ExpanderSAE:
    """The coordinate null: h less its mean, of which the k entries of largest modulus are kept exactly, plus the mean.

    It is a 1-regular dictionary, the standard basis (n = m, d = 1, all values 1), with codes of free sign: a mean is
    all that it takes from data, and no decoder value is learned. Ties go to the lowest row.

    Args:
        mean: of the training activations, (m,).
        k: entries kept, 1..m.

    Returns:
        An SAE in evaluation mode, float32, on the CPU; its ``decoder_values`` count the m ones, which nobody learned.

    Raises:
        InvalidArgument: k outside 1..m, or a mean that is no finite vector.
    """
    sound = mean.ndim == 1 and len(mean) > 0 and bool(mean.isfinite().all())
    require(sound, "mean", f"tensor of shape {tuple(mean.shape)}", "must be a finite vector (m,)")
    m = len(mean)
    require(1 <= require_int("k", k) <= m, "k", k, f"must be between 1 and m = {m}")
    sae = ExpanderSAE(Mask(m, np.arange(m, dtype=np.int32)[:, None], "coordinates"), k, selection="magnitude")
    with torch.no_grad():
        sae.weight.fill_(1.0)
        sae.b_dec.copy_(mean)
    return sae.eval()
