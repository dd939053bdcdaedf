"""Cross-layer transcoders: features read at one layer write to the outputs of that layer and of all after it.

    x_l = s_l h_in,l - b_in,l,    code_l = TopK(E_l x_l + b_enc,l),
    y_hat_l' = (sum over l <= l' of W_{l,l'} code_l + b_dec,l') / t_l'      (Ameisen et al. 2025, "Circuit tracing")

So a feature of layer l of L has L - l decoder columns, and decoders grow with the square of the number of layers:
n m values for each of the L (L + 1) / 2 pairs where they are dense, n d where each column lies on d rows of its own.
All pieces together are one decoder like that of :class:`sae_bridge.sae.ExpanderSAE`: columns on d of the L m rows, with
codes that are repeated for every layer that a feature writes to. A feature's pieces together have unit norm, k features
a token are active at every layer, and the scales s_l, t_l make the mean square norm of each layer its width, so that
layers count alike.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expander_theory.base import derived_seed, require, require_int
from expander_theory.masks import Mask, uniform_mask
from sae_bridge.sae import ExpanderSAE, initial_weight, ops, storable
from sae_bridge.transcoders._files import write_transcoder
from sae_bridge.transcoders.transcoder import Transcoder


class CrossLayerTranscoder(Transcoder, ExpanderSAE):
    """Inputs and outputs are those of all layers side by side: (B, L m_in) and (B, L m_out).

    Feature l n_each + j is feature j of layer l. ``weight`` (P n_each, d) holds the pieces of the P = L (L + 1) / 2
    pairs (0, 0), (0, 1), .. (1, 1), ..; ``encoder`` is dense, (L n_each, m_in); buffers ``scale_in`` (L m_in,) and
    ``scale_out`` (L m_out,) hold s_l and t_l; there is no skip.

    Args:
        mask: rows of the pieces, P n_each columns on L m_out rows, each within the layer that it writes to.
        layers: L.
        m_in: width of the inputs of one layer.
        k: features of a token at every layer.
        seed: of the initial values.

    Raises:
        InvalidArgument: sizes or rows that do not fit.
    """

    scale_out: Tensor

    def __init__(self, mask: Mask, layers: int, m_in: int, k: int, *, seed: int = 0) -> None:
        pairs = layers * (layers + 1) // 2
        require(require_int("layers", layers) >= 1, "layers", layers, "must be at least 1")
        require(m_in >= 1, "m_in", m_in, "must be at least 1")
        fits = mask.n % pairs == 0 and mask.m % layers == 0
        shown = f"of {mask.n} columns on {mask.m} rows"
        require(fits, "mask", shown, f"must have a multiple of {pairs} columns, on a multiple of {layers} rows")
        self.layers, self.each, self.width_in, self.width_out = layers, mask.n // pairs, m_in, mask.m // layers
        require(1 <= k <= self.each, "k", k, f"must be between 1 and the {self.each} features of a layer")
        to = np.repeat(_targets(layers), self.each)[:, None]
        require(bool((mask.rows // self.width_out == to).all()), "mask", shown, "must keep to the layers of its pairs")
        super().__init__(mask, k, seed=seed)
        n = layers * self.each
        self.b_enc = nn.Parameter(self.weight.new_zeros(n))
        start = initial_weight(m_in, n, None, seed=seed, purpose="initial encoder")
        self.m_in, self.skip, self._mask_in = layers * m_in, None, None
        self.encoder = nn.Parameter(start / torch.linalg.vector_norm(start, dim=1, keepdim=True))
        self.register_buffer("rows_in", None)
        for name, width in (("scale_in", self.m_in), ("b_in", self.m_in), ("scale_out", self.m)):
            self.register_buffer(name, start.new_full((width,), float(name != "b_in")))

    @property
    def decoder_parts(self) -> tuple[Tensor, ...]:
        """A feature's pieces side by side, (n_each, (L - l) d) for each layer l: copies."""
        return tuple(self._columns(self.weight, layer) for layer in range(self.layers))

    def _columns(self, values: Tensor, layer: int) -> Tensor:
        pieces = self._pieces(values, layer)
        return pieces.permute(1, 0, 2).reshape(self.each, -1)

    def _pieces(self, values: Tensor, layer: int) -> Tensor:
        """The part of (P n_each, d) that belongs to a layer's features, (L - l, n_each, d), in place."""
        first, count = _first(self.layers, layer), self.layers - layer
        return values[first * self.each : (first + count) * self.each].view(count, self.each, -1)

    @torch.no_grad()
    def normalise_columns(self) -> None:
        for layer in range(self.layers):
            pieces = self._pieces(self.weight, layer)
            pieces /= pieces.square().sum(dim=(0, 2), keepdim=True).sqrt()

    @torch.no_grad()
    def project_gradient(self) -> None:
        if self.weight.grad is not None:
            for layer in range(self.layers):
                pieces, gradient = self._pieces(self.weight, layer), self._pieces(self.weight.grad, layer)
                gradient -= (gradient * pieces).sum(dim=(0, 2), keepdim=True) * pieces

    def rate_factors(self) -> dict[str, float]:
        return {"weight": (self.width_out / self.weight.shape[1]) ** 0.5, "encoder": 1.0}

    @torch.no_grad()
    def fit_input(self, sample: Tensor) -> None:
        """Set s_l, t_l and b_in; before :meth:`fit_normalisation`, which sees outputs that t_l has scaled."""
        for buffer, first, width in (
            (self.scale_in, 0, self.width_in),
            (self.scale_out, self.m_in, self.width_out),
        ):
            for layer in range(self.layers):
                own = slice(layer * width, (layer + 1) * width)
                part = sample[:, first + own.start : first + own.stop].double()
                power = float(part.square().sum()) / max(1, len(part))
                usable = 0 < power < float("inf")
                require(usable, "activations", f"mean square norm {power}", "must be finite and not 0 at every layer")
                buffer[own] = (width / power) ** 0.5
        self.b_in.copy_(self.scale_in.double() * sample[:, : self.m_in].double().mean(dim=0))

    def reconstructed_part(self, h: Tensor) -> Tensor:
        """The outputs of all layers, each times its t_l."""
        return super().reconstructed_part(h) * self.scale_out

    def strongest(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest scores of each layer: (B, L k)."""
        sides = zip(self.encoder.split(self.each), self.b_enc.split(self.each), strict=True)
        found = [self._of_layer(layer, x, *side, k) for layer, side in enumerate(sides)]
        return torch.cat([acts for acts, _ in found], dim=1), torch.cat(
            [indices + layer * self.each for layer, (_, indices) in enumerate(found)], dim=1
        )

    def _of_layer(self, layer: int, x: Tensor, encoder: Tensor, bias: Tensor, k: int) -> tuple[Tensor, Tensor]:
        own = x[:, layer * self.width_in : (layer + 1) * self.width_in].contiguous()
        return ops.encode(own, encoder, bias, None, k, trusted=True)

    def reconstruction_by(self, features: Tensor, x: Tensor, k: int) -> Tensor:
        acts, indices = [], []
        for layer in range(self.layers):
            own = features[features.div(self.each, rounding_mode="floor") == layer]
            if len(own):
                encoder, bias = self.encoder.index_select(0, own), self.b_enc.index_select(0, own)
                scores, places = self._of_layer(layer, x, encoder, bias, min(len(own), max(1, k // self.layers)))
                acts.append(scores.relu())
                indices.append(own[places])
        return self.combine(torch.cat(acts, dim=1), torch.cat(indices, dim=1), trusted=True)

    def combine(self, acts: Tensor, indices: Tensor, *, trusted: bool = False) -> Tensor:
        """W code at all layers, (B, L m_out): the code of a feature counts once for every layer that it writes to."""
        layer = indices.div(self.each, rounding_mode="floor")
        first = torch.tensor([_first(self.layers, one) for one in range(self.layers)], device=indices.device)
        every_acts, every_piece = [], []
        for after in range(self.layers):
            there = layer + after < self.layers
            columns = there.any(dim=0)  # a layer's codes stand in columns of their own
            own, number = there[:, columns], layer[:, columns]
            pieces = (first[number] + after) * self.each + indices[:, columns] - number * self.each
            every_acts.append(torch.where(own, acts[:, columns], 0))
            every_piece.append(torch.where(own, pieces, 0))
        return super().combine(torch.cat(every_acts, dim=1), torch.cat(every_piece, dim=1), trusted=trusted)

    def decode(self, acts: Tensor, indices: Tensor, *, trusted: bool = False, h: Tensor | None = None) -> Tensor:
        return super().decode(acts, indices, trusted=trusted) / self.scale_out

    def save(self, folder: str | os.PathLike[str], fields: dict[str, Any]) -> None:
        configuration = {
            **{"architecture": "expander", "m_in": self.m_in, "m": self.m, "n": self.n, "layers": self.layers},
            **{"d": self.weight.shape[1], "d_in": self.width_in, "k": self.k, "encoder": "dense", "skip": False},
            **{"activation": self.activation, "selection": self.selection, "dense_columns": 0},
        }
        arrays = {name: storable(value) for name, value in self.state_dict().items()}
        write_transcoder(folder, configuration, self.mask, None, arrays, fields)


def _first(layers: int, layer: int) -> int:
    """The number of a layer's first pair."""
    return layer * layers - layer * (layer - 1) // 2


def _targets(layers: int) -> np.ndarray[Any, Any]:
    """The layer that each pair writes to, (P,)."""
    return np.concatenate([np.arange(layer, layers) for layer in range(layers)])


def cross_layer_mask(layers: int, m_out: int, n: int, d: int | None, seed: int) -> Mask:
    """Rows of the pieces of n features a layer: d random ones, independent from pair to pair; None: all m_out.

    Raises:
        InvalidArgument: a size out of range.
    """
    rows = []
    for pair, target in enumerate(_targets(layers)):
        if d is None or d == m_out:
            own = np.broadcast_to(np.arange(m_out, dtype=np.int32), (n, m_out))
        else:
            own = uniform_mask(m_out, n, d, seed=derived_seed(seed, f"mask of pair {pair}")).rows
        rows.append(own + np.int32(target * m_out))
    return Mask(layers * m_out, np.concatenate(rows), f"{layers} layers, seed {seed}")
