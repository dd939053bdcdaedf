"""SAELens folders (``cfg.json``, ``sae_weights.safetensors``), both ways and without SAELens.

Its SAEs (checked against release 6.54) hold ``W_enc`` (m, n), ``W_dec`` (n, m), ``b_enc`` (n,), ``b_dec`` (m,) and mean

    code = act((h - b_dec) W_enc + b_enc),    h_hat = code W_dec + b_dec

("topk": the k largest, then ReLU; "abstopk": the k largest in magnitude, with signs; "standard": ReLU; "jumprelu": what
is positive and above ``threshold`` (n,); "batchtopk", a training checkpoint: the same with one ``topk_threshold``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from expander_theory.base import InvalidFile
from expander_theory.results import typed
from sae_bridge.interop._folders import CONFIGURATION, Part, positive, read_configuration, write_folder
from sae_bridge.interop._metadata import fields_of_saelens, provenance, saelens_metadata
from sae_bridge.interop._raw import in_raw_units
from sae_bridge.interop.imported import ImportedSAE, imported
from sae_bridge.interop.native_files import ARCHITECTURE, WEIGHTS, import_native
from sae_bridge.sae import SparseAutoencoder

ARCHITECTURES = ("topk", "abstopk", "batchtopk", "jumprelu", "standard", ARCHITECTURE)


def export_saelens(
    sae: SparseAutoencoder,
    folder: str | os.PathLike[str],
    fields: dict[str, Any] | None = None,
    *,
    model_name: str | None = None,
) -> None:
    """Write an SAE, densified, as a SAELens folder of n m values for encoder and decoder each.

    Reconstructions of raw activations are the same; decoder columns are unit and codes are the SAE's own divided by its
    scale s. TopK becomes "topk" ("abstopk" where chosen by magnitude); BatchTopK becomes "jumprelu" with its threshold
    for every feature, as SAELens does itself: the limit of 8 k features for one token is lost.

    Args:
        fields: training fields, as ``load_sae`` gives them, for the metadata.
        model_name: the language model's name in TransformerLens; None: as in the fields.

    Raises:
        InvalidArgument: NaN values.
    """
    raw = in_raw_units(sae)
    about: dict[str, Any] = {
        **{"d_in": raw.m, "d_sae": raw.n},
        **{"dtype": str(raw.weight.dtype).removeprefix("torch."), "device": "cpu"},
        **{"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"},
        "metadata": saelens_metadata(fields or {}, model_name) | provenance(raw),
    }
    tensors = {
        "W_enc": raw.dense(raw.encoder).T,
        "W_dec": raw.dense(raw.weight),
        "b_enc": raw.b_enc,
        "b_dec": raw.b_dec,
    }
    if raw.threshold is None:
        kind = "abstopk" if raw.magnitude else "topk"
        about |= {"architecture": kind, "k": raw.k, "rescale_acts_by_decoder_norm": False}
    else:
        about["architecture"] = "jumprelu"
        tensors["threshold"] = raw.threshold.expand(raw.n)
    write_folder(Path(folder), WEIGHTS, about, tensors)


def import_saelens(
    folder: str | os.PathLike[str], *, k: int | None = None
) -> tuple[SparseAutoencoder | ImportedSAE, dict[str, Any]]:
    """An SAE, ready for evaluation, and its training fields as far as SAELens's metadata tell.

    Codes and reconstructions are SAELens's, up to rounding (16-bit weights are used in float32 here).

    Args:
        k: for architectures with thresholds, how many features other methods of inference get, if the folder does not
            tell.

    Raises:
        InvalidFile: missing, damaged, another architecture, or activations that SAELens would normalise.
        InvalidArgument: k out of range.
    """
    folder = Path(folder)
    about = _with_current_names(folder, read_configuration(folder))
    kind = about["architecture"]
    if kind not in ARCHITECTURES:
        allowed = ", ".join(ARCHITECTURES)
        raise InvalidFile(folder / CONFIGURATION, f"has the architecture {kind!r}; those that can be read: {allowed}")
    typed(folder / CONFIGURATION, about, _About)
    normalisation = about.get("normalize_activations") or "none"
    if normalisation != "none":
        how = f"normalises activations ({normalisation}), which no linear decoder undoes; fold that in first"
        raise InvalidFile(folder / CONFIGURATION, how)
    if kind == ARCHITECTURE:
        return import_native(folder, about)
    m, n = positive(folder, about, "d_in"), positive(folder, about, "d_sae")
    part = Part(folder / WEIGHTS)
    encoder, weight = part.take("W_enc", m, n).T, part.take("W_dec", n, m)
    b_enc, b_dec = part.take("b_enc", n), part.take("b_dec", m)
    if not about.get("apply_b_dec_to_input", True):
        b_enc = (b_enc.double() + encoder.double() @ b_dec.double()).to(b_enc.dtype)
    threshold = b_enc.new_zeros(n) if kind == "standard" else _threshold(part, kind, n)
    if "scaling_factor" in part and bool((part.take("scaling_factor", n) != 1).any()):
        raise InvalidFile(part.path, "rescales its codes (scaling_factor), which SAELens itself no longer reads")
    part.finish()
    if about.get("rescale_acts_by_decoder_norm", False):
        # Scores are multiplied by the column's norm and codes divided by it again in decoding: a unit decoder.
        norms = torch.linalg.vector_norm(weight.double(), dim=1, keepdim=True)
        if not bool((norms > 0).all()):
            raise InvalidFile(part.path, "holds a zero decoder column, whose norm codes are divided by")
        encoder, b_enc, weight = (
            value.to(weight.dtype) for value in (encoder * norms, b_enc * norms[:, 0], weight / norms)
        )
    metadata = about.get("metadata", {})
    if threshold is None:
        k = positive(folder, about, "k")
        if k > n:
            raise InvalidFile(folder / CONFIGURATION, f"has k = {k}, more than its {n} features")
    else:
        k = _sparsity(about.get("k", metadata.get("k"))) if k is None else k
    sae = imported(encoder, weight, b_enc, b_dec, k=k, threshold=threshold, magnitude=kind == "abstopk")
    return sae, fields_of_saelens(metadata)


class _About(TypedDict, total=False):
    """What is read of a configuration beside its sizes."""

    apply_b_dec_to_input: bool
    rescale_acts_by_decoder_norm: bool
    normalize_activations: str | None
    metadata: dict[str, Any]


def _threshold(part: Part, kind: str, n: int) -> Tensor | None:
    if kind == "jumprelu":
        return part.take("threshold", n)
    return part.take("topk_threshold").expand(n).clone() if kind == "batchtopk" else None


def _sparsity(stored: Any) -> int | None:
    """BatchTopK's k is a mean, and need not be whole."""
    number = isinstance(stored, int | float) and not isinstance(stored, bool)
    return max(1, round(stored)) if number and 0 < stored < 2**31 else None


def _with_current_names(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """A configuration of a release before 6 as one of now: its metadata lay flat, and TopK was an activation."""
    if isinstance(about.get("metadata"), dict) and "architecture" in about:
        return about
    if "d_sae" not in about:
        raise InvalidFile(folder / CONFIGURATION, "is not the configuration of a SAELens SAE (it has no d_sae)")
    new = {"architecture": "standard", **about, "metadata": about}
    how = about.get("activation_fn_str", about.get("activation_fn", "relu"))
    if new["architecture"] == "standard" and how != "relu":
        if how != "topk":
            raise InvalidFile(folder / CONFIGURATION, f"has the activation function {how!r}; relu and topk can be read")
        options = about.get("activation_fn_kwargs")
        new |= {"architecture": "topk", "k": options.get("k") if isinstance(options, dict) else None}
    return new
