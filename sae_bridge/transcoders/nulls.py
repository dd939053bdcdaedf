"""What a map from inputs to outputs scores that learned no feature: the least that a transcoder has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import require
from expander_theory.masks import Mask
from sae_bridge.evaluation import mean_activation
from sae_bridge.transcoders._least_squares import best_fit
from sae_bridge.transcoders.foreign import AnyTranscoder
from sae_bridge.transcoders.paired import PairedStore
from sae_bridge.transcoders.storage import Storage, plain_storage, transcoder_storage
from sae_bridge.transcoders.transcoder import Transcoder, transcoder

Kind = Literal["trained", "mean", "linear", "inputs", "untrained", "oracle"]
Function = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows [h_in | h_out], float32 (B, m_in + m_out), to y_hat (B, m_out) and the active features of each token (B,)."""

MOST_FEATURES = 8192
"""More codes than these are not refitted: the least squares hold n^2 numbers."""
SAMPLE = 32_768
"""Activations that the normalisation of an untrained transcoder is taken from."""
_BATCH = 2048


@dataclass(frozen=True)
class Map:
    """Something that gives outputs for inputs.

    Attributes:
        name: for tables.
        kind: "trained"; or what it is instead: see :func:`transcoder_nulls`.
        function: what it does.
        storage: what it takes.
        k: features of a token, None where it has none.
    """

    name: str
    kind: Kind
    function: Function
    storage: Storage
    k: int | None = None


def transcoder_map(name: str, one: AnyTranscoder, kind: Kind = "trained") -> Map:
    """A transcoder as it is."""

    @torch.no_grad()
    def function(rows: Tensor) -> tuple[Tensor, Tensor]:
        own = rows.to(one.device, one.weight.dtype)
        y, acts, _ = one(own[:, : one.m_in])
        return y.to(rows), (acts != 0).sum(dim=1).to(rows.device)

    return Map(name, kind, function, transcoder_storage(one), one.k)


def transcoder_nulls(store: PairedStore, k: int, shapes: Sequence[Transcoder] = ()) -> list[Map]:
    """Maps at the same k that learned no feature; what they take from data is from the training activations.

    - "mean": the mean output, whatever the input: m_out values, no code;
    - "linear": the best linear map h_in -> h_out (least squares with a ridge): m_in m_out values, and nothing sparse
      about it. What a transcoder adds to it is what is not linear;
    - "inputs": the k entries of h_in less its mean that are largest in modulus as the code, with the best decoder for
      it: m_in features that nobody learned, m_in m_out values;
    - "untrained": a transcoder as training would start it, of the shape of each of ``shapes``, whose decoder is the
      best one for its codes on its own support: the same storage, and no feature learned;
    - "oracle": the k entries of the true h_out less its mean that are largest in modulus. It sees the output, which no
      transcoder does: what k coordinates could say at best.

    Args:
        store: inputs and outputs.
        k: features a token.
        shapes: transcoders whose k, masks and sizes the untrained ones have; those of more than
            :data:`MOST_FEATURES` features, with dense columns beside a mask or of another k are left out.

    Raises:
        InvalidArgument: k out of range, a store of several layers.
    """
    layers = len(store.outputs)
    require(layers == 1, "store", f"of {layers} layers", "must be of one: put those of each layer side_by_side")
    m_in, m_out = store.m_in, store.m_out
    most = min(m_in, m_out)
    require(1 <= k <= most, "k", k, f"must be between 1 and {most}, the width of inputs and outputs")
    mean = mean_activation(store, "train")
    mean_in, mean_out = mean[:m_in].float(), mean[m_in:].float()
    linear = best_fit(((rows[:, :m_in], rows[:, m_in:]) for rows in store.batches("train", _BATCH)), m_in, m_out)
    matrix, offset = linear.matrix.float(), linear.offset.float()

    def by_mean(rows: Tensor) -> tuple[Tensor, Tensor]:
        return mean_out.to(rows).expand(len(rows), -1), torch.zeros(len(rows), device=rows.device)

    def by_matrix(rows: Tensor) -> tuple[Tensor, Tensor]:
        y = rows[:, :m_in] @ matrix.to(rows) + offset.to(rows)
        return y, torch.zeros(len(rows), device=rows.device)

    def by_outputs(rows: Tensor) -> tuple[Tensor, Tensor]:
        apart = rows[:, m_in:] - mean_out.to(rows)
        kept = apart.abs().topk(k, dim=1).indices
        code = torch.zeros_like(apart).scatter_(1, kept, apart.gather(1, kept))
        return code + mean_out.to(rows), (code != 0).sum(dim=1)

    found = [
        Map("mean output", "mean", by_mean, plain_storage(m_out, 0)),
        Map("best linear map", "linear", by_matrix, plain_storage((m_in + 1) * m_out, m_in * m_out, m_in * m_out)),
        transcoder_map(f"{k} coordinates of the input, decoder fitted", _of_inputs(store, mean_in, k), "inputs"),
    ]
    for one in _different(shapes, k):
        found.append(transcoder_map(f"untrained {_shape(one)}, decoder fitted", _untrained(store, one), "untrained"))
    oracle = plain_storage(m_out, 0)
    return [*found, Map(f"{k} coordinates of the true output", "oracle", by_outputs, oracle, k)]


def _different(shapes: Sequence[Transcoder], k: int) -> list[Transcoder]:
    """One of each shape that can be refitted; a skip and a seed make no other shape."""
    found = {}
    for one in shapes:
        if one.k == k and one.dense is None and one.n <= MOST_FEATURES:
            found.setdefault((one.n, one.weight.shape[1], one.encoder.shape[1]), one)
    return list(found.values())


def _shape(one: Transcoder) -> str:
    encoder = "dense" if one.rows_in is None else f"d = {one.encoder.shape[1]}"
    decoder = "dense" if one.rows is None else f"d = {one.weight.shape[1]}"
    return f"n = {one.n}, encoder {encoder}, decoder {decoder}"


@torch.no_grad()
def _of_inputs(store: PairedStore, mean: Tensor, k: int) -> Transcoder:
    m_in = store.m_in
    basis = Mask(m_in, np.arange(m_in, dtype=np.int32)[:, None], "coordinates")
    one = transcoder(m_in, store.m_out, m_in, k, mask_in=basis, selection="magnitude")
    one.encoder.fill_(1.0)
    one.b_in.copy_(mean)
    return refitted(one, store)


def _untrained(store: PairedStore, like: Transcoder) -> Transcoder:
    how: dict[str, Any] = {"mask": like.mask, "mask_in": like.mask_in, "selection": like.selection}
    one = transcoder(store.m_in, store.m_out, like.n, like.k, **how)
    one.fit_input(next(store.batches("train", SAMPLE)))
    return refitted(one, store)


@torch.no_grad()
def refitted(one: Transcoder, store: PairedStore) -> Transcoder:
    """The transcoder with the best decoder on its support, and b_dec, for its own codes of the training activations.

    Columns are then of any norm. Changed in place, and returned in evaluation mode.

    Args:
        one: without a skip and dense columns beside a mask, of at most :data:`MOST_FEATURES` features.

    Raises:
        InvalidArgument: another one.
    """
    plain = one.skip is None and one.dense is None
    require(plain, "one", "with a skip or dense columns", "must have neither")
    require(one.n <= MOST_FEATURES, "one", f"of n = {one.n}", f"must have at most {MOST_FEATURES} features")
    one.eval()

    def coded() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in store.batches("train", _BATCH):
            acts, indices = one.encode(rows[:, : one.m_in].to(one.weight))
            yield acts.new_zeros(len(acts), one.n).scatter_add(1, indices, acts), rows[:, one.m_in :]

    best = best_fit(coded(), one.n, one.m, one.mask)
    columns = best.matrix if one.rows is None else best.matrix.gather(1, one.rows.long())
    one.weight.copy_(columns * one.scale.double())
    one.b_dec.copy_(best.offset * one.scale.double())
    return one


def layered_nulls(store: PairedStore, k: int) -> list[Map]:
    """The maps of :func:`transcoder_nulls`, but the untrained ones, of every layer of a store, side by side: the output
    of each layer is made of its own input alone.

    Args:
        store: inputs and outputs of several layers.
        k: features a token at every layer.

    Raises:
        InvalidArgument: k out of range.
    """
    of_each = [transcoder_nulls(PairedStore(*pair), k) for pair in zip(store.inputs, store.outputs, strict=True)]
    return [side_by_side(f"every layer: {maps[0].name}", maps, store) for maps in zip(*of_each, strict=True)]


def side_by_side(name: str, maps: Sequence[Map], store: PairedStore) -> Map:
    """One map for each layer of a store of several, as one map of all: what a cross-layer transcoder has to beat.

    Args:
        name: of the whole.
        maps: of one layer each, in the order of the store's.
        store: inputs and outputs of as many layers.

    Raises:
        InvalidArgument: another number of maps than of layers.
    """
    layers = len(store.outputs)
    require(len(maps) == layers, "maps", f"{len(maps)} maps", f"must be one for each of the {layers} layers")
    widths = [one.m for one in (*store.inputs, *store.outputs)]

    def function(rows: Tensor) -> tuple[Tensor, Tensor]:
        sides = rows.split(widths, dim=1)
        pairs = zip(sides[:layers], sides[layers:], strict=True)
        found = [one.function(torch.cat(pair, dim=1)) for one, pair in zip(maps, pairs, strict=True)]
        return torch.cat([y for y, _ in found], dim=1), torch.stack([active for _, active in found]).sum(dim=0)

    counts = {key: sum(getattr(one.storage, key) for one in maps) for key in vars(maps[0].storage)}
    return Map(name, maps[0].kind, function, Storage(**counts), maps[0].k)
