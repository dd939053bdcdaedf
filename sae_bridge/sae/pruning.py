"""Sparse decoders made of a trained dense one: the d largest entries of each column."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from expander_theory.base import require
from expander_theory.masks import Mask
from sae_bridge.sae.sae import Encoder, ExpanderSAE, Selection, SparseAutoencoder


@torch.no_grad()
def pruned(sae: SparseAutoencoder, d: int) -> ExpanderSAE:
    """The SAE on the mask of the d largest magnitudes of each decoder column, with those values at unit norm.

    Scale and biases are the dense one's; the encoder is tied, or the pursuit that it was. As it is, it has lost what
    was pruned: train it on with ``Training(start=...)`` ("pruned and retuned" in the paper's code).

    Raises:
        InvalidArgument: a sparse SAE, or d out of range.
    """
    require(sae.mask is None, "sae", "on a mask", "must be dense")
    require(1 <= d <= sae.m, "d", d, f"must be between 1 and m = {sae.m}")
    weight = sae.weight.detach().cpu().numpy()
    rows = np.sort(np.argsort(-np.abs(weight), axis=1, kind="stable")[:, :d], axis=1).astype(np.int32)
    mask, how = Mask(sae.m, rows, f"pruned to the {d} largest of each column"), cast(Selection, sae.selection)
    encoder: Encoder = "tied" if sae.encoding == "untied" else sae.encoding
    kept = ExpanderSAE(mask, sae.k, encoder=encoder, selection=how)
    kept.weight.copy_(torch.from_numpy(np.take_along_axis(weight, rows, axis=1)))
    kept.normalise_columns()
    for name in ("b_enc", "b_dec", "scale"):
        getattr(kept, name).data.copy_(getattr(sae, name).data)
    return kept.eval()
