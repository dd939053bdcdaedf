"""Sparse decoders made of a trained dense one: the d largest entries of each column."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from expander_theory.base import require
from expander_theory.masks import Mask
from sae_bridge.sae.autoencoder import SparseAutoencoder
from sae_bridge.sae.options import THRESHOLDED, Activation, Encoder, Selection
from sae_bridge.sae.sae import ExpanderSAE


@torch.no_grad()
def pruned(sae: SparseAutoencoder, d: int) -> ExpanderSAE:
    """The SAE on the mask of the d largest magnitudes of each decoder column, with those values at unit norm.

    Scale and biases are the dense one's, and thresholds where features have their own; the encoder is tied, or the
    pursuit that it was. BatchTopK and groups are not kept: it is TopK then. As it is, it has lost what was pruned:
    train it on with ``Training(start=...)`` ("pruned and retuned" in the paper's code).

    Raises:
        InvalidArgument: a sparse SAE, or d out of range.
    """
    require(sae.mask is None, "sae", "on a mask", "must be dense")
    require(1 <= d <= sae.m, "d", d, f"must be between 1 and m = {sae.m}")
    weight = sae.weight.detach().cpu().numpy()
    rows = np.sort(np.argsort(-np.abs(weight), axis=1, kind="stable")[:, :d], axis=1).astype(np.int32)
    mask, how = Mask(sae.m, rows, f"pruned to the {d} largest of each column"), cast(Selection, sae.selection)
    encoder: Encoder = "tied" if sae.encoding == "untied" else sae.encoding
    own: Activation = sae.activation if sae.activation in THRESHOLDED else "topk"
    kept = ExpanderSAE(mask, sae.k, encoder=encoder, selection=how, activation=own)
    kept.weight.copy_(torch.from_numpy(np.take_along_axis(weight, rows, axis=1)))
    kept.normalise_columns()
    for name in ("b_enc", "b_dec", "scale", "log_threshold", "r_mag", "b_mag"):
        if (value := getattr(sae, name)) is not None:
            getattr(kept, name).data.copy_(value.data)
    return kept.eval()
