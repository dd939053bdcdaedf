"""Transcoders: sparse codes of what a part of a model reads, decoded into what it gives (Dunefsky et al. 2024).

    x = s_in h_in - b_in,    code = act(E x + b_enc),    y_hat = (W code + b_dec [+ S x]) / s_out

h_in (m_in,) is what an MLP reads and h_out (m_out,) what it adds to the residual stream, or any other two places. The
decoder W is that of an SAE of width m_out: on a mask of the output's rows (d n values), dense, or some dense columns
beside a mask; columns are unit. The encoder E has values of its own, never the decoder's: dense (m_in n values), or on
a mask of the input's rows. S (m_out, m_in), started at zero, is the linear map of skip transcoders (Paulo et al. 2025).
``act``, TopK or BatchTopK, and all that training does to a decoder are those of :mod:`sae_bridge.sae`. The scales make
E||s h||^2 the width on both sides, and b_in, the mean input, stays as it is: b_enc can do all that it could.
"""

from __future__ import annotations

import os
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from expander_theory.base import InvalidArgument, require, require_choice
from expander_theory.masks import Mask
from sae_bridge.sae import (
    Activation,
    BlockSAE,
    ExpanderSAE,
    Selection,
    SparseAutoencoder,
    TopKSAE,
    initial_weight,
    ops,
    storable,
)
from sae_bridge.transcoders._files import write_transcoder

ACTIVATIONS: tuple[Activation, ...] = ("topk", "batch_topk")
"""Those of a transcoder, of all that SAEs have."""


class Transcoder(SparseAutoencoder):
    """What transcoders of every decoder share; make one with :func:`transcoder`.

    ``weight``, ``dense``, ``b_dec``, ``scale``, ``threshold`` and ``rows`` are the decoder's, as in
    :class:`SparseAutoencoder`, whose ``m`` is m_out here. Parameters beside them: ``encoder`` (n, m_in), or (n, d_in)
    on ``rows_in``; ``b_enc`` (n,); ``skip`` (m_out, m_in) or None. Buffers: ``scale_in`` and ``b_in`` (m_in,), and
    ``rows_in`` int32 (n, d_in), where the encoder is on a mask.

    In training a batch is [h_in | h_out], (B, m_in + m_out); methods that code take that or h_in alone.
    """

    m_in: int
    encoder: nn.Parameter
    skip: nn.Parameter | None
    rows_in: Tensor | None
    scale_in: Tensor
    b_in: Tensor

    def _give_encoder(self, m_in: int, mask: Mask | None, skip: bool, seed: int) -> None:
        """Complete an SAE with tied encoder that has been built."""
        self.m_in = m_in
        rows = None if mask is None else mask.rows
        start = initial_weight(m_in, self.n, rows, seed=seed, purpose="initial encoder")
        self.encoder = nn.Parameter(start / torch.linalg.vector_norm(start, dim=1, keepdim=True))
        self.skip = nn.Parameter(start.new_zeros(self.m, m_in)) if skip else None
        self.register_buffer("rows_in", None if rows is None else torch.from_numpy(rows.copy()))
        self.register_buffer("scale_in", start.new_ones(()))
        self.register_buffer("b_in", start.new_zeros(m_in))
        self._mask_in = mask

    @property
    def mask_in(self) -> Mask | None:
        """The mask of ``rows_in``; None where the encoder is dense."""
        if self.rows_in is None or self._mask_in is None:
            return None
        rows = self.rows_in.cpu().numpy()
        if not np.array_equal(rows, self._mask_in.rows):  # a loaded state brings its own
            self._mask_in = Mask(self.m_in, rows)
        return self._mask_in

    @property
    def encoder_values(self) -> int:
        """Learned values of the encoder: m_in n dense, d_in n on a mask."""
        return int(self.encoder.count_nonzero())

    def centred(self, h: Tensor) -> Tensor:
        """s_in h_in - b_in, (B, m_in), of h_in or of [h_in | h_out].

        Raises:
            InvalidArgument: another width.
        """
        if h.ndim != 2 or h.shape[1] not in (self.m_in, self.m_in + self.m):
            allowed = f"must be (B, {self.m_in}) inputs, or (B, {self.m_in + self.m}) inputs and outputs"
            raise InvalidArgument("h", f"of shape {tuple(h.shape)}", allowed)
        return torch.addcmul(-self.b_in, h[:, : self.m_in], self.scale_in)

    def target(self, h: Tensor, x: Tensor) -> Tensor:
        """s_out h_out - b_dec, less what the skip gives: what W code is compared with, (B, m_out)."""
        aim = torch.addcmul(-self.b_dec, self.reconstructed_part(h), self.scale)
        return aim if self.skip is None else aim - x @ self.skip.T

    def reconstructed_part(self, h: Tensor) -> Tensor:
        """h_out of [h_in | h_out]."""
        wide = self.m_in + self.m
        require(h.shape[-1] == wide, "h", f"of width {h.shape[-1]}", f"must be {wide} wide: inputs, then outputs")
        return h[:, self.m_in :]

    @torch.no_grad()
    def fit_input(self, sample: Tensor) -> None:
        """Set s_in so that E||s_in h_in||^2 = m_in, and b_in to the mean of s_in h_in.

        Raises:
            InvalidArgument: inputs that are zero, or not finite.
        """
        inputs = sample[:, : self.m_in].double()
        power = float(inputs.square().sum()) / max(1, len(inputs))
        usable = 0 < power < float("inf")
        require(usable, "activations", f"inputs of mean square norm {power}", "must be finite and not all zero")
        scale = (self.m_in / power) ** 0.5
        self.scale_in.fill_(scale)
        self.b_in.copy_(scale * inputs.mean(dim=0))

    def rate_factors(self) -> dict[str, float]:
        own = (self.m_in / self.encoder.shape[1]) ** 0.5
        return super().rate_factors() | {"encoder": own}

    def strongest(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        magnitude = self.selection == "magnitude"
        return ops.encode(x, self.encoder, self.b_enc, self.rows_in, k, magnitude=magnitude, trusted=True)

    def reconstruction_by(self, features: Tensor, x: Tensor, k: int) -> Tensor:
        encoder, bias = (p.index_select(0, features) for p in (self.encoder, self.b_enc))
        rows = None if self.rows_in is None else self.rows_in[features]
        magnitude = self.selection == "magnitude"
        acts, indices = ops.encode(x, encoder, bias, rows, k, magnitude=magnitude, trusted=True)
        return self.combine(acts if magnitude else acts.relu(), features[indices], trusted=True)

    def decode(self, acts: Tensor, indices: Tensor, *, trusted: bool = False, h: Tensor | None = None) -> Tensor:
        """y_hat (B, m_out) in the units of h_out.

        Args:
            acts, indices, trusted: as :meth:`SparseAutoencoder.decode`.
            h: the inputs, as :meth:`centred` takes them: where there is a skip, the codes are not all.

        Raises:
            InvalidArgument: as there; a skip without inputs.
        """
        if self.skip is None:
            return super().decode(acts, indices, trusted=trusted)
        if h is None:
            raise InvalidArgument("h", None, "must be given: the skip reads the inputs")
        skipped = self.centred(h) @ self.skip.T
        return (self.combine(acts, indices, trusted=trusted) + self.b_dec + skipped) / self.scale

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(y_hat (B, m_out), acts (B, K), indices (B, K)) of h_in (B, m_in)."""
        acts, indices = self.encode(h)
        return self.decode(acts, indices, trusted=True, h=h), acts, indices

    def save(self, folder: str | os.PathLike[str], fields: dict[str, Any]) -> None:
        """Save as a folder of ``cfg.json`` and safetensors; ``fields`` (JSON) say how it was trained."""
        configuration = {
            "architecture": self.architecture,
            "m_in": self.m_in,
            "m": self.m,
            "n": self.n,
            "d": self.weight.shape[1],
            "d_in": self.encoder.shape[1],
            "k": self.k,
            "encoder": "dense" if self.rows_in is None else "mask",
            "skip": self.skip is not None,
            "activation": self.activation,
            "selection": self.selection,
            "dense_columns": 0 if self.dense is None else len(self.dense),
        }
        arrays = {name: storable(value) for name, value in self.state_dict().items()}
        write_transcoder(folder, configuration, self.mask, self.mask_in, arrays, fields)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        rows, scale, errors = state_dict.get(f"{prefix}rows_in"), state_dict.get(f"{prefix}scale_in"), args[-1]
        if isinstance(scale, Tensor) and not bool((scale > 0).all()):
            errors.append("scale_in must be positive")
            return
        if isinstance(rows, Tensor) and rows.shape == self.encoder.shape:
            try:
                Mask(self.m_in, rows.cpu().numpy())  # the loops believe it
            except InvalidArgument as error:
                errors.append(f"rows_in are no mask of m_in = {self.m_in} rows: {error}")
                return
        super()._load_from_state_dict(state_dict, prefix, *args)


class DenseTranscoder(Transcoder, TopKSAE):
    """A transcoder with a dense decoder: the reference."""


class ExpanderTranscoder(Transcoder, ExpanderSAE):
    """A transcoder whose decoder columns live on a mask: d n decoder values."""


class BlockTranscoder(Transcoder, BlockSAE):
    """A transcoder with r dense decoder columns before those on a mask."""


def transcoder(
    m_in: int,
    m_out: int,
    n: int,
    k: int,
    *,
    mask: Mask | None = None,
    dense_columns: int = 0,
    mask_in: Mask | None = None,
    skip: bool = False,
    activation: Activation = "topk",
    selection: Selection = "signed",
    seed: int = 0,
) -> Transcoder:
    """An untrained transcoder, float32.

    Args:
        m_in, m_out: widths of what is read and of what is given.
        n, k: features and how many of them a token has (on average, for BatchTopK).
        mask: supports of the decoder's columns, of m_out rows; None where it is dense.
        dense_columns: r dense columns before the n - r of the mask.
        mask_in: supports of the encoder's rows, n columns of m_in rows; None where it is dense.
        skip: whether there is a linear map beside the features.
        activation: "topk" or "batch_topk".
        selection: "signed", or "magnitude" for codes with signs (TopK alone).
        seed: of the initial values; the same for masked and dense at the places that there are.

    Raises:
        InvalidArgument: a size out of range, masks that do not fit.
    """
    require(m_in >= 1, "m_in", m_in, "must be at least 1")
    require(m_out >= 1, "m_out", m_out, "must be at least 1")
    require_choice("activation", activation, ACTIVATIONS)
    require_choice("selection", selection, get_args(Selection))
    how: dict[str, Any] = {"seed": seed, "activation": activation, "selection": selection}
    if mask is None:
        require(dense_columns == 0, "dense_columns", dense_columns, "must be 0 where all columns are dense")
        made: Transcoder = DenseTranscoder(m_out, n, k, **how)
    else:
        fits = mask.m == m_out and mask.n + dense_columns == n
        shown = f"of {mask.n} columns on {mask.m} rows"
        require(fits, "mask", shown, f"must have n - dense_columns = {n - dense_columns} on m_out = {m_out}")
        made = BlockTranscoder(mask, dense_columns, k, **how) if dense_columns else ExpanderTranscoder(mask, k, **how)
    if mask_in is not None:
        fits = (mask_in.m, mask_in.n) == (m_in, n)
        shown = f"of {mask_in.n} columns on {mask_in.m} rows"
        require(fits, "mask_in", shown, f"must have n = {n} columns on m_in = {m_in} rows")
    made._give_encoder(m_in, mask_in, skip, seed)
    return made
