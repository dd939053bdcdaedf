"""Saved SAEs of every architecture."""

from __future__ import annotations

import os
from typing import Any

import torch

from expander_theory.base import InvalidArgument, InvalidFile
from sae_bridge.sae.block_sae import BlockSAE
from sae_bridge.sae.sae import Encoder, ExpanderSAE, Selection, SparseAutoencoder, TopKSAE
from sae_bridge.sae.sae_files import read_sae


def load_sae(folder: str | os.PathLike[str]) -> tuple[SparseAutoencoder, dict[str, Any]]:
    """An SAE, ready for evaluation, and its training fields, as :meth:`SparseAutoencoder.save` wrote them.

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or not an SAE.
    """
    about, mask, arrays, fields = read_sae(folder)
    encoder: Encoder = "warm" if about["encoder"] == "untied" else about["encoder"]
    selection: Selection | None = about["selection"]
    if fields.get("codes") == "omp":  # of an earlier release, which said so beside the SAE and not in it
        encoder, selection = "omp", None
    how: dict[str, Any] = {"encoder": encoder, "activation": about["activation"], "selection": selection}
    how["pursuit_steps"] = about.get("pursuit_steps", 1)
    k = about["k"]
    try:
        if mask is None:
            sae: SparseAutoencoder = TopKSAE(about["m"], about["n"], k, **how)
        elif "dense_columns" in about:
            sae = BlockSAE(mask, about["dense_columns"], k, **how)
        else:
            sae = ExpanderSAE(mask, k, **how)
    except InvalidArgument as error:  # options that do not go together
        raise InvalidFile(folder, f"damaged: {error}") from None
    stored = {name: torch.from_numpy(value) for name, value in arrays.items()}
    if any(value.dtype == torch.float64 for value in stored.values()):
        sae = sae.double()
    sae.load_state_dict({**({} if mask is None else {"rows": sae.state_dict()["rows"]}), **stored})
    return sae.eval(), fields
