"""Saved transcoders of every decoder."""

from __future__ import annotations

import os
from typing import Any

import torch

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.masks import Mask
from sae_bridge.transcoders._files import About, read_transcoder
from sae_bridge.transcoders.cross_layer import CrossLayerTranscoder
from sae_bridge.transcoders.transcoder import Transcoder, transcoder


def load_transcoder(folder: str | os.PathLike[str]) -> tuple[Transcoder, dict[str, Any]]:
    """A transcoder, ready for evaluation, and its training fields, as :meth:`Transcoder.save` wrote them.

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or no transcoder.
    """
    about, masks, arrays = read_transcoder(folder)
    try:
        made = (
            _cross_layer(about, masks["mask"])
            if "layers" in about
            else transcoder(
                about["m_in"],
                about["m"],
                about["n"],
                about["k"],
                mask=masks.get("mask"),
                dense_columns=about["dense_columns"],
                mask_in=masks.get("mask_in"),
                skip=about["skip"],
                activation=about["activation"],
                selection=about["selection"],
            )
        )
    except InvalidArgument as error:  # options that do not go together
        raise InvalidFile(folder, f"damaged: {error}") from None
    stored = {name: torch.from_numpy(value) for name, value in arrays.items()}
    if stored["weight"].dtype == torch.float64:
        made = made.double()
    made.load_state_dict(stored)
    return made.eval(), about["training"]


def _cross_layer(about: About, mask: Mask) -> CrossLayerTranscoder:
    layers = about.get("layers", 1)
    return CrossLayerTranscoder(mask, layers, about["m_in"] // layers, about["k"])
