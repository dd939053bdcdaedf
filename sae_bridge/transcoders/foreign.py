"""Transcoders of SAELens and sparsify, read without either library.

SAELens's (checked against its source at release 6.54) hold ``W_enc`` (m_in, n), ``W_dec`` (n, m_out), ``b_enc`` (n,)
and ``b_dec`` (m_out,), and mean, b_dec being no part of what is coded,

    code = act(h_in W_enc + b_enc),    y_hat = code W_dec + b_dec [+ h_in W_skip^T]

("transcoder" and "skip_transcoder": ReLU; "jumprelu_transcoder" and "jumprelu_skip_transcoder": what is positive and
above ``threshold`` (n,)). sparsify's, with ``transcode`` (checked against eai-sparsify 1.3.3), hold ``encoder.weight``
(n, m), ``encoder.bias``, ``W_dec`` (n, m), ``b_dec`` and with ``skip_connection`` ``W_skip`` (m, m), and mean the same
with TopK of the ReLU; without ``transcode`` b_dec is subtracted from the inputs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from expander_theory.base import InvalidFile
from expander_theory.results import typed
from sae_bridge.interop import Part, fields_of_hookpoint, fields_of_saelens, positive, read_configuration
from sae_bridge.sae import CONFIGURATION, WEIGHTS, ops
from sae_bridge.transcoders.loading import load_transcoder
from sae_bridge.transcoders.transcoder import Transcoder, transcoder

SAELENS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
SPARSIFY_WEIGHTS = "sae.safetensors"
_SCORES = 1 << 23
"""Scores that are held at a time."""


class ImportedTranscoder(nn.Module):
    """A dense transcoder of another library whose features have thresholds:

        code_j = z_j where z_j > max(threshold_j, 0), else 0,  z = E h_in + b_enc;    y_hat = W code + b_dec [+ S h_in]

    Args:
        encoder, weight: (n, m_in) and (n, m_out), rows of E and columns of W.
        b_enc, b_dec: (n,) and (m_out,).
        threshold: (n,); zeros are ReLU.
        skip: S (m_out, m_in), or None.
    """

    k = None
    threshold: Tensor

    def __init__(
        self, encoder: Tensor, weight: Tensor, b_enc: Tensor, b_dec: Tensor, threshold: Tensor, skip: Tensor | None
    ) -> None:
        super().__init__()
        self.n, self.m = weight.shape
        self.m_in = encoder.shape[1]
        self.encoder, self.weight, self.b_enc, self.b_dec = map(nn.Parameter, (encoder, weight, b_enc, b_dec))
        self.skip = None if skip is None else nn.Parameter(skip)
        self.register_buffer("threshold", threshold)

    @property
    def device(self) -> torch.device:
        """The torch device on which the parameters lie."""
        return self.weight.device

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of inputs (B, m_in): acts (B, K) and indices (B, K); K is the most features that a token has, at least
        1, and zeros are padding."""
        parts = [self._above(part) for part in h.split(max(1, _SCORES // self.n))]
        width = max(acts.shape[1] for acts, _ in parts)
        padded = ([nn.functional.pad(t, (0, width - t.shape[1])) for t in part] for part in parts)
        acts, indices = zip(*padded, strict=True)
        return torch.cat(acts), torch.cat(indices)

    def _above(self, h: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.addmm(self.b_enc, h, self.encoder.T)
        acts = torch.where(scores > self.threshold, scores, 0).relu()
        most = int((acts > 0).sum(dim=1).max()) if len(acts) else 0
        values, indices = acts.topk(max(1, most), dim=1)
        return values, indices

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(y_hat (B, m_out), acts (B, K), indices (B, K)) of h_in (B, m_in)."""
        acts, indices = self.encode(h)
        y = ops.decode(acts, indices, self.weight, None, self.m, trusted=True) + self.b_dec
        return (y if self.skip is None else y + h @ self.skip.T), acts, indices


AnyTranscoder = Transcoder | ImportedTranscoder


def load_any_transcoder(folder: str | os.PathLike[str]) -> tuple[AnyTranscoder, dict[str, Any]]:
    """A transcoder, ready for evaluation, from a folder of ours, SAELens's or sparsify's, and its training fields.

    Raises:
        InvalidFile: none, a damaged one, or one that means something that cannot be read.
    """
    folder = Path(folder)
    if (folder / SPARSIFY_WEIGHTS).is_file():
        return import_sparsify_transcoder(folder)
    if (folder / CONFIGURATION).is_file() and read_configuration(folder).get("architecture") in SAELENS:
        return import_saelens_transcoder(folder)
    return load_transcoder(folder)


class _Lens(TypedDict, total=False):
    """What is read of a SAELens configuration beside its sizes."""

    apply_b_dec_to_input: bool
    normalize_activations: str | None
    reshape_activations: str | None
    metadata: dict[str, Any]


def import_saelens_transcoder(folder: str | os.PathLike[str]) -> tuple[ImportedTranscoder, dict[str, Any]]:
    """A SAELens transcoder, ready for evaluation, and its training fields as far as the metadata tell.

    Codes and outputs are SAELens's, up to rounding (16-bit weights are used in float32 here).

    Raises:
        InvalidFile: missing, damaged, another architecture, or inputs that SAELens would normalise.
    """
    folder = Path(folder)
    about, path = read_configuration(folder), folder / CONFIGURATION
    kind = about.get("architecture")
    if kind not in SAELENS:
        raise InvalidFile(path, f"has the architecture {kind!r}; those that can be read: {', '.join(SAELENS)}")
    typed(path, about, _Lens)
    for name in ("normalize_activations", "reshape_activations"):
        if (about.get(name) or "none") != "none":
            raise InvalidFile(path, f"has {name} = {about[name]!r}, which a transcoder of this project has not")
    if about.get("apply_b_dec_to_input", False):
        raise InvalidFile(path, "subtracts b_dec from the inputs, which no transcoder of SAELens does")
    m_in, m_out, n = (positive(folder, about, name) for name in ("d_in", "d_out", "d_sae"))
    part = Part(folder / WEIGHTS)
    encoder, weight = part.take("W_enc", m_in, n).T.contiguous(), part.take("W_dec", n, m_out)
    b_enc, b_dec = part.take("b_enc", n), part.take("b_dec", m_out)
    threshold = part.take("threshold", n) if "jumprelu" in str(kind) else b_enc.new_zeros(n)
    skip = part.take("W_skip", m_out, m_in) if "skip" in str(kind) else None
    part.finish()
    made = ImportedTranscoder(encoder, weight, b_enc, b_dec, threshold, skip)
    return made.eval(), _fields_of_saelens(about.get("metadata") or {})


def _fields_of_saelens(metadata: dict[str, Any]) -> dict[str, Any]:
    """Both places, where they are named as ours."""
    read = fields_of_saelens(metadata)
    given = fields_of_saelens({"hook_name": metadata.get("hook_name_out")})
    fields = {key: value for key, value in read.items() if key not in ("layer", "hook")}
    return fields | {f"input_{key}": read[key] for key in ("layer", "hook") if key in read} | given


def import_sparsify_transcoder(folder: str | os.PathLike[str]) -> tuple[Transcoder, dict[str, Any]]:
    """A sparsify coder that transcodes or has a skip, as a dense :class:`Transcoder`, and its training fields.

    Codes and outputs are sparsify's, up to rounding. Its module's inputs are coded, and its outputs given: of the name
    of the folder only the layer is taken.

    Raises:
        InvalidFile: missing, damaged, neither a transcoder nor with a skip, or of another activation than TopK.
    """
    folder = Path(folder)
    about, path = read_configuration(folder), folder / CONFIGURATION
    if not (about.get("transcode") or about.get("skip_connection")):
        raise InvalidFile(path, "is no transcoder (transcode and skip_connection are off): read it as an SAE")
    if about.get("activation", "topk") != "topk":
        raise InvalidFile(path, f"has the activation {about['activation']!r}; topk can be read")
    unknown = [name for name in ("embed_skip", "gram_lookup", "signed") if about.get(name)]
    if unknown:
        raise InvalidFile(path, f"has {', '.join(unknown)}, which cannot be read")
    m, k = positive(folder, about, "d_in"), positive(folder, about, "k")
    n = positive(folder, about, "num_latents") if about.get("num_latents") else 0
    n = n or m * positive(folder, about, "expansion_factor")
    if k > n:
        raise InvalidFile(path, f"has k = {k}, more than its {n} features")
    part = Part(folder / SPARSIFY_WEIGHTS)
    tensors = {"encoder": part.take("encoder.weight", n, m), "weight": part.take("W_dec", n, m)}
    tensors |= {"b_enc": part.take("encoder.bias", n), "b_dec": part.take("b_dec", m)}
    if about.get("skip_connection"):
        tensors["skip"] = part.take("W_skip", m, m)
    part.finish()
    if not about.get("transcode"):  # the inputs are coded less b_dec, and the skip reads them as they are
        shifted = tensors["b_enc"].double() - tensors["encoder"].double() @ tensors["b_dec"].double()
        tensors["b_enc"] = shifted.to(tensors["b_enc"].dtype)
    made = transcoder(m, m, n, k, skip="skip" in tensors).to(tensors["weight"].dtype)
    made.load_state_dict({**made.state_dict(), **tensors})
    layer = {key: value for key, value in fields_of_hookpoint(folder.resolve().name).items() if key == "layer"}
    return made.eval(), layer
