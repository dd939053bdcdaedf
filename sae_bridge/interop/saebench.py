"""An SAE of ours as SAEBench's evaluations take one: weights as parameters, dense codes, a configuration.

SAEBench asks for no class of its own, only for these members; it counts as active what is above 0, so that a feature
whose codes have signs becomes two, its positive and its negative side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from expander_theory.base import InvalidArgument, require
from sae_bridge.interop._metadata import lens_hook
from sae_bridge.interop.imported import ImportedSAE
from sae_bridge.sae import SparseAutoencoder


@dataclass
class SAEBenchConfiguration:
    """The fields that SAEBench 0.6 reads of a custom SAE's ``cfg``; it adds some of its own, so it is not frozen."""

    model_name: str
    d_in: int
    d_sae: int
    hook_layer: int
    hook_name: str
    architecture: str
    dtype: str = "float32"
    context_size: int = 128
    prepend_bos: bool = True
    hook_head_index: int | None = None
    normalize_activations: str = "none"
    model_from_pretrained_kwargs: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return asdict(self)


class SAEBenchSAE(nn.Module):
    """An adaptor; ``run_eval`` of SAEBench takes ``[(name, SAEBenchSAE(...))]``.

    ``W_enc`` (m, F) and ``b_enc`` (F,) are there because some of its metrics look at them: for a tied encoder and for a
    pursuit W_enc is the decoder's transpose; codes come from the SAE itself. F is n, or 2 n where codes have signs.

    Args:
        sae: in evaluation mode.
        model_name: what TransformerLens calls the language model.
        layer, hook: where it was trained: one of our hooks, whatever TransformerLens calls it. With ``attn_z`` the
            activations are (..., heads * head_dim).
        context: tokens of a context.
        prepend_bos: whether contexts begin with the BOS token.

    Attributes:
        cfg: see :class:`SAEBenchConfiguration`.
        lengths: what one unit of a feature's own code is in these units, (n,).

    Raises:
        InvalidArgument: an SAE in training mode; a hook that TransformerLens does not have.
    """

    lengths: Tensor

    def __init__(
        self,
        sae: SparseAutoencoder | ImportedSAE,
        *,
        model_name: str,
        layer: int,
        hook: str,
        context: int = 128,
        prepend_bos: bool = True,
    ) -> None:
        super().__init__()
        hook_name = lens_hook(layer, hook)
        if hook_name is None:
            raise InvalidArgument("hook", repr(hook), "has no name in TransformerLens")
        require(not sae.training, "sae", "in training mode", "call eval() first")
        self.sae, self.signed = sae, sae.selection == "magnitude"
        raw = _raw_columns(sae)
        self.register_buffer("lengths", torch.linalg.vector_norm(raw, dim=1))
        own = nn.functional.normalize(raw, dim=1)
        decoder = torch.cat([own, -own]) if self.signed else own
        units = self.lengths * sae.scale  # an activation of the SAE's own in these units, for h that is not scaled
        encoder, bias = _encoder(sae, own) * units[:, None], (sae.b_enc * self.lengths).detach()
        self.W_dec = nn.Parameter(decoder, requires_grad=False)
        self.W_enc = nn.Parameter((torch.cat([encoder, -encoder]) if self.signed else encoder).T.contiguous(), False)
        self.b_enc = nn.Parameter(torch.cat([bias, -bias]) if self.signed else bias, requires_grad=False)
        self.b_dec = nn.Parameter((sae.b_dec / sae.scale).detach().clone(), requires_grad=False)
        self.cfg = SAEBenchConfiguration(
            model_name, sae.m, len(decoder), layer, hook_name,
            f"{getattr(sae, 'architecture', 'dense')}_{sae.encoding}", context_size=context, prepend_bos=prepend_bos,
        )  # fmt: skip

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return self.W_dec.dtype

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Codes (..., F), dense and not negative, in units in which W_dec has unit rows, of activations (..., m)."""
        flat = x.reshape(-1, x.shape[-1])
        acts, indices = self.sae.encode(flat.to(self.sae.device, self.sae.weight.dtype))
        codes = acts.new_zeros(len(flat), self.sae.n).scatter_add_(1, indices, acts) * self.lengths
        if self.signed:
            codes = torch.cat([codes.relu(), (-codes).relu()], dim=1)
        return codes.reshape(*x.shape[:-1], -1).to(x.device, x.dtype)

    def decode(self, feature_acts: Tensor) -> Tensor:
        """Reconstructions (..., m) of codes (..., F); differentiable."""
        return feature_acts @ self.W_dec.to(feature_acts.dtype) + self.b_dec.to(feature_acts.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction."""
        return self.decode(self.encode(x))


@torch.no_grad()
def _raw_columns(sae: SparseAutoencoder | ImportedSAE) -> Tensor:
    """What one unit of each feature adds to h, (n, m)."""
    every = torch.arange(sae.n, device=sae.device)[:, None]
    ones = torch.ones(sae.n, 1, device=sae.device, dtype=sae.weight.dtype)
    return sae.decode(ones, every) - sae.decode(torch.zeros_like(ones), every)


@torch.no_grad()
def _encoder(sae: SparseAutoencoder | ImportedSAE, columns: Tensor) -> Tensor:
    """Dense rows (n, m) of the encoder; the decoder's columns where it has no values of its own."""
    if sae.encoding != "untied" or sae.encoder is None:
        return columns.clone()
    if sae.rows is None:
        return sae.encoder.detach().clone()
    return torch.zeros_like(columns).scatter_(1, sae.rows.long(), sae.encoder.detach())


def saebench_sae(sae: SparseAutoencoder | ImportedSAE, fields: Mapping[str, Any], model_name: str) -> SAEBenchSAE:
    """The adaptor with what an SAE's training fields say of layer, hook and context.

    Raises:
        InvalidArgument: fields without a layer or hook.
    """
    for name in ("layer", "hook"):
        require(name in fields, "fields", sorted(fields), f"must say the {name}")
    context = int(fields.get("context", 128))
    return SAEBenchSAE(
        sae, model_name=model_name, layer=int(fields["layer"]), hook=str(fields["hook"]), context=context
    )
