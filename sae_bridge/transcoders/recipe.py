"""How one transcoder is built and trained: the recipe of an SAE, and what a transcoder has beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from expander_theory.base import derived_seed, require, require_choice
from expander_theory.masks import uniform_mask
from sae_bridge.activations import StoredStream
from sae_bridge.training import Training, train
from sae_bridge.transcoders.cross_layer import CrossLayerTranscoder, cross_layer_mask
from sae_bridge.transcoders.loading import load_transcoder
from sae_bridge.transcoders.paired import PairedStore, require_rows
from sae_bridge.transcoders.transcoder import ACTIVATIONS, Transcoder, transcoder

_MEMORY = 4 << 30


@dataclass(frozen=True)
class TranscoderTraining(Training):
    """One transcoder and its training. The fields of :class:`sae_bridge.training.Training` are about the decoder, whose
    columns lie on the output's rows, and about the training; but for:

    Attributes:
        encoder: stays "tied", which says nothing here: a transcoder's encoder always has values of its own.
        m_in: width of the inputs, the first columns of a batch; :func:`train_transcoders` puts it in.
        layers: train a :class:`CrossLayerTranscoder` of so many layers, whose inputs and outputs are side by side: n,
            k and d are then those of one layer, and of one pair of layers. None for one layer.
        d_in: nonzeros per row of the encoder, on a random mask of its own; None for a dense encoder.
        same_mask: put the encoder on the decoder's mask instead, where the widths agree.
        skip: whether there is a linear map beside the features.
    """

    m_in: int | None = None
    layers: int | None = None
    d_in: int | None = None
    same_mask: bool = False
    skip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("activation", self.activation, ACTIVATIONS)
        for name, only in (("encoder", "tied"), ("pursuit_steps", 1), ("supports", "fixed")):
            value = getattr(self, name)
            require(value == only, name, repr(value), f"must be {only!r} for a transcoder")
        for name in ("start", "rank", "mean_degree", "finetuned", "groups"):
            require(getattr(self, name) is None, name, getattr(self, name), "must be None for a transcoder")
        require(self.revival != "resample", "revival", repr(self.revival), "must be 'auxk' or 'none' for a transcoder")
        require(self.m_in is None or self.m_in >= 1, "m_in", self.m_in, "must be at least 1")
        require(self.d_in is None or self.d_in >= 1, "d_in", self.d_in, "must be at least 1, or None for dense")
        on_mask = (self.d, self.mask) != (None, None) and self.dense_columns == 0
        allowed = "must be False with an encoder's own d_in, and where the decoder has dense columns"
        if self.layers is not None:
            require(self.layers >= 1, "layers", self.layers, "must be at least 1, or None")
            for name, only in (("activation", "topk"), ("d_in", None), ("mask", None), ("skip", False)):
                value = getattr(self, name)
                require(value == only, name, repr(value), f"must be {only!r} for a cross-layer transcoder")
            require(self.dense_columns == 0, "dense_columns", self.dense_columns, "must be 0 for a cross-layer one")
            signed = self.selection in (None, "signed")
            require(signed, "selection", repr(self.selection), "must be 'signed' for a cross-layer transcoder")
            require(not self.same_mask, "same_mask", True, "must be False for a cross-layer transcoder")
        require(not self.same_mask or (on_mask and self.d_in is None), "same_mask", self.same_mask, allowed)

    def build(self, m: int) -> Transcoder:
        """The untrained transcoder for batches of width m = m_in + m_out.

        Raises:
            InvalidArgument: no m_in, or widths that do not fit.
        """
        m_in = self.m_in or 0
        require(1 <= m_in < m, "m_in", self.m_in, f"must be between 1 and {m - 1}, of the {m} columns of a batch")
        if self.layers is not None:
            whole = m_in % self.layers == 0 and (m - m_in) % self.layers == 0
            require(whole, "layers", self.layers, f"must divide the widths {m_in} and {m - m_in}")
            mask = cross_layer_mask(self.layers, (m - m_in) // self.layers, self.n, self.d, self.seed)
            return CrossLayerTranscoder(mask, self.layers, m_in // self.layers, self.k, seed=self.seed)
        mask = self.decoder_mask(m - m_in)
        n = self.n if mask is None else mask.n + self.dense_columns
        mask_in = None
        if self.same_mask:
            require(2 * m_in == m, "same_mask", True, f"needs equal widths, here {m_in} and {m - m_in}")
            mask_in = mask
        elif self.d_in is not None:
            mask_in = uniform_mask(m_in, n, self.d_in, seed=derived_seed(self.seed, "mask of the encoder"))
        return transcoder(
            m_in,
            m - m_in,
            n,
            self.k,
            mask=mask,
            dense_columns=0 if mask is None else self.dense_columns,
            mask_in=mask_in,
            skip=self.skip,
            activation=self.activation,
            selection=self.selection or "signed",
            seed=self.seed,
        )

    def load(self, folder: str | os.PathLike[str]) -> tuple[Transcoder, dict[str, Any]]:
        return load_transcoder(folder)

    def identity(self) -> dict[str, Any]:
        kind = "mask of the decoder" if self.same_mask else "dense" if self.d_in is None else "mask"
        return super().identity() | {"kind": "transcoder training", "encoder": kind}


def train_transcoders(
    runs: Mapping[str, TranscoderTraining],
    store: PairedStore,
    folder: str | os.PathLike[str],
    *,
    batch: int = 1024,
    order_seed: int = 0,
    memory_bytes: int = _MEMORY,
    **options: Any,
) -> dict[str, Transcoder]:
    """Minimise ||s_out h_out - W code - b_dec [- S x]||^2 for every run, all on the same batches in the same order.

    Folders, metrics, checkpoints, and how a run that was stopped goes on to the same bits, are those of
    :func:`sae_bridge.training.train`.

    Args:
        runs: recipes by name of their folder; their ``m_in`` is filled in.
        store: inputs and outputs.
        folder: for the results.
        batch: tokens a step.
        order_seed: of the order of the data.
        memory_bytes: what a shuffled window of the data may take.
        options: of :func:`sae_bridge.training.train`.

    Returns:
        The transcoders, by name, ready for evaluation.

    Raises:
        InvalidArgument, InvalidFile, Diverged, OSError: as :func:`sae_bridge.training.train`.
    """
    for how in runs.values():
        count = len(store.outputs)
        require((how.layers or 1) == count, "layers", how.layers, f"must be the {count} of the activations")
    require_rows(store)
    stream = StoredStream(store, batch, order_seed, memory_bytes)
    recipes = {name: replace(how, m_in=store.m_in) for name, how in runs.items()}
    about = {**store.place(), **options.pop("about", {})}
    return cast(dict[str, Transcoder], train(recipes, stream, Path(folder), about=about, **options))
