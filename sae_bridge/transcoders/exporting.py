"""Our transcoders as folders of SAELens and sparsify, densified: their scales and b_in folded, codes divided by s_out.

With E' = s_in E / s_out, b' = (b_enc - E b_in) / s_out, b_dec' = (b_dec - S b_in) / s_out and S' = s_in S / s_out,

    code / s_out = act(E' h_in + b'),    y_hat = W (code / s_out) + b_dec' + S' h_in

because act is homogeneous; a threshold becomes threshold / s_out. Decoder columns stay unit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expander_theory.base import require
from sae_bridge.interop import saelens_metadata, write_folder
from sae_bridge.sae import WEIGHTS
from sae_bridge.transcoders.foreign import SPARSIFY_WEIGHTS
from sae_bridge.transcoders.transcoder import Transcoder


@dataclass(frozen=True)
class _Raw:
    """Tensors on the CPU: encoder (n, m_in), weight (n, m_out), and the rest as above."""

    encoder: Tensor
    weight: Tensor
    b_enc: Tensor
    b_dec: Tensor
    skip: Tensor | None
    threshold: Tensor


@torch.no_grad()
def _raw(one: Transcoder) -> _Raw:
    for name, value in one.state_dict().items():
        require(bool(torch.isfinite(value).all()), f"one.{name}", "NaN or infinite", "must be finite")
    require(
        one.selection == "signed", "one.selection", repr(one.selection), "must be 'signed': no other library has it"
    )
    dtype, one_scale = one.weight.dtype, float(one.scale)
    scale_in, b_in = float(one.scale_in), one.b_in.cpu().double()
    encoder = _dense(one.encoder, one.rows_in, one.m_in).double()
    weight = _dense(one.weight, one.rows, one.m)
    if one.dense is not None:
        weight = torch.cat([one.dense.detach().cpu(), weight])
    b_dec, skip = one.b_dec.detach().cpu().double(), None
    if one.skip is not None:
        own = one.skip.detach().cpu().double()
        b_dec, skip = b_dec - own @ b_in, (scale_in / one_scale * own).to(dtype)
    b_enc = one.b_enc.detach().cpu().double() - encoder @ b_in
    return _Raw(
        encoder=(scale_in / one_scale * encoder).to(dtype),
        weight=weight,
        b_enc=(b_enc / one_scale).to(dtype),
        b_dec=(b_dec / one_scale).to(dtype),
        skip=skip,
        threshold=(one.threshold.cpu().double() / one_scale).to(dtype),
    )


def _dense(values: Tensor, rows: Tensor | None, width: int) -> Tensor:
    stored = values.detach().cpu()
    if rows is None:
        return stored.clone()
    return stored.new_zeros(len(stored), width).scatter_(1, rows.cpu().long(), stored)


def export_sparsify_transcoder(one: Transcoder, folder: str | os.PathLike[str], hookpoint: str) -> Path:
    """Write a TopK transcoder as sparsify's ``folder/<hookpoint>/``, which is returned; its outputs are the same.

    Args:
        hookpoint: the module whose inputs are coded and whose outputs are given, in the model's own names:
            "layers.3.mlp".

    Raises:
        InvalidArgument: BatchTopK, selection by magnitude or different widths, which sparsify does not have; NaN.
    """
    require(one.activation == "topk", "one.activation", repr(one.activation), "must be 'topk': sparsify has no other")
    widths = f"{one.m_in} -> {one.m}"
    require(one.m_in == one.m, "one", f"of widths {widths}", "must have equal widths: sparsify has one")
    plain = hookpoint not in ("", ".", "..") and "/" not in hookpoint and "\\" not in hookpoint
    require(plain, "hookpoint", repr(hookpoint), "must be a module's name, such as 'layers.3.mlp'")
    raw = _raw(one)
    about = {
        **{"activation": "topk", "expansion_factor": max(1, one.n // one.m), "normalize_decoder": True},
        **{"num_latents": one.n, "k": one.k, "multi_topk": False, "skip_connection": raw.skip is not None},
        **{"transcode": True, "d_in": one.m},
    }
    tensors = {"encoder.weight": raw.encoder, "encoder.bias": raw.b_enc, "W_dec": raw.weight, "b_dec": raw.b_dec}
    if raw.skip is not None:
        tensors["W_skip"] = raw.skip
    write_folder(Path(folder) / hookpoint, SPARSIFY_WEIGHTS, about, tensors)
    return Path(folder) / hookpoint


def export_saelens_transcoder(
    one: Transcoder,
    folder: str | os.PathLike[str],
    fields: dict[str, Any] | None = None,
    *,
    model_name: str | None = None,
) -> None:
    """Write a BatchTopK transcoder as SAELens's "jumprelu_transcoder", or "jumprelu_skip_transcoder"; its outputs are
    the same, but for the limit of 8 k features for one token, which is lost.

    Args:
        fields: training fields, as ``load_transcoder`` gives them, for the metadata.
        model_name: the language model's name in TransformerLens; None: as in the fields.

    Raises:
        InvalidArgument: TopK, of which SAELens has no transcoder; NaN.
    """
    allowed = "must be 'batch_topk': SAELens has no transcoder with TopK"
    require(one.activation == "batch_topk", "one.activation", repr(one.activation), allowed)
    raw, fields = _raw(one), dict(fields or {})
    read = {**fields, "layer": fields.get("input_layer"), "hook": fields.get("input_hook")}
    metadata = saelens_metadata(read, model_name)
    given = saelens_metadata(fields, model_name).get("hook_name")
    about: dict[str, Any] = {
        **{"architecture": f"jumprelu{'' if raw.skip is None else '_skip'}_transcoder", "d_in": one.m_in},
        **{"d_sae": one.n, "d_out": one.m, "device": "cpu", "dtype": str(one.weight.dtype).removeprefix("torch.")},
        **{"apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none"},
        "metadata": {**metadata, **({} if given is None else {"hook_name_out": given}), "k": one.k},
    }
    tensors = {"W_enc": raw.encoder.T, "W_dec": raw.weight, "b_enc": raw.b_enc, "b_dec": raw.b_dec}
    tensors["threshold"] = raw.threshold.expand(one.n)
    if raw.skip is not None:
        tensors["W_skip"] = raw.skip
    write_folder(Path(folder), WEIGHTS, about, tensors)
