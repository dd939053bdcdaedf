"""SAELens folders (``cfg.json``, ``sae_weights.safetensors``), both ways and without SAELens.

Its SAEs (checked against release 6.54) hold ``W_enc`` (m, n), ``W_dec`` (n, m), ``b_enc`` (n,), ``b_dec`` (m,) and mean

    code = act((h - b_dec) W_enc + b_enc),    h_hat = code W_dec + b_dec

("topk": the k largest, then ReLU; "abstopk": the k largest in magnitude, with signs; "standard": ReLU; "jumprelu": what
is positive and above ``threshold`` (n,); "batchtopk" and "matryoshka_batchtopk", training checkpoints: the same with
one ``topk_threshold``). "gated" has ``b_gate``, ``b_mag`` and ``r_mag`` (n,) for ``b_enc``, and with
z = (h - b_dec) W_enc the code H(z + b_gate) ReLU(e^r_mag z + b_mag).

A Matryoshka SAE is a BatchTopK SAE once it is trained, and both are "jumprelu" for inference there: the prefixes are
named in the metadata alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor

from expander_theory.base import InvalidFile, require
from expander_theory.results import read_json, typed
from sae_bridge.interop._folders import CONFIGURATION, Part, mean_sparsity, positive, read_configuration, write_folder
from sae_bridge.interop._metadata import fields_of_saelens, provenance, saelens_metadata
from sae_bridge.interop._parts import ImportedTensors
from sae_bridge.interop._raw import RawSAE, in_raw_units
from sae_bridge.interop._token_norms import NORMALISATIONS
from sae_bridge.interop.imported import ImportedSAE, imported
from sae_bridge.interop.native_files import ARCHITECTURE, WEIGHTS, import_native
from sae_bridge.sae import SparseAutoencoder

ARCHITECTURES = (
    *("topk", "abstopk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated", "standard"),
    ARCHITECTURE,
)

_CHECKPOINTS = ("batchtopk", "matryoshka_batchtopk")
_RESCALED = ("topk", "abstopk", *_CHECKPOINTS)
"""Architectures that can multiply scores by the norms of the decoder's columns; in others SAELens drops the field."""
_SCALED, _WHITENED = "expected_average_only_in", "covariance_whitening"
_SCALER, _WHITENING = "activation_scaler.json", "activation_whitening.safetensors"
"""What training checkpoints hold beside the SAE: the map of activations that is folded in when training ends."""
_WIDTHS = "matryoshka_widths"


def export_saelens(
    sae: SparseAutoencoder,
    folder: str | os.PathLike[str],
    fields: dict[str, Any] | None = None,
    *,
    model_name: str | None = None,
) -> None:
    """Write an SAE, densified, as a SAELens folder of n m values for encoder and decoder each.

    Reconstructions of raw activations are the same; decoder columns are unit and codes are the SAE's own divided by its
    scale s. TopK becomes "topk" ("abstopk" where chosen by magnitude), JumpReLU "jumprelu", Gated "gated"; BatchTopK
    becomes "jumprelu" with its threshold for every feature, as SAELens does itself: the limit of 8 k features for one
    token is lost. Prefixes of a Matryoshka SAE are named in the metadata.

    Args:
        fields: training fields, as ``load_sae`` gives them, for the metadata.
        model_name: the language model's name in TransformerLens; None: as in the fields.

    Raises:
        InvalidArgument: NaN values.
    """
    raw = in_raw_units(sae)
    metadata = saelens_metadata(fields or {}, model_name) | provenance(raw) | _groups_metadata(raw, sae.activation)
    heads = str(metadata.get("hook_name", "")).endswith("hook_z")
    about: dict[str, Any] = {
        **{"d_in": raw.m, "d_sae": raw.n},
        **{"dtype": str(raw.weight.dtype).removeprefix("torch."), "device": "cpu"},
        **{"apply_b_dec_to_input": True, "normalize_activations": "none"},
        "reshape_activations": "hook_z" if heads else "none",
        "metadata": metadata,
    }
    tensors = {"W_enc": raw.dense(raw.encoder).T, "W_dec": raw.dense(raw.weight), "b_dec": raw.b_dec}
    if raw.r_mag is not None and raw.b_mag is not None:
        about["architecture"] = "gated"
        tensors |= {"b_gate": raw.b_enc, "r_mag": raw.r_mag, "b_mag": raw.b_mag}
    elif raw.threshold is not None:
        about["architecture"] = "jumprelu"
        tensors |= {"b_enc": raw.b_enc, "threshold": raw.threshold.expand(raw.n)}
    else:
        kind = "abstopk" if raw.magnitude else "topk"
        about |= {"architecture": kind, "k": raw.k, "rescale_acts_by_decoder_norm": False}
        tensors["b_enc"] = raw.b_enc
    write_folder(Path(folder), WEIGHTS, about, tensors)


def import_saelens(
    folder: str | os.PathLike[str], *, k: int | None = None, scaling_factor: float | None = None
) -> tuple[SparseAutoencoder | ImportedSAE, dict[str, Any]]:
    """An SAE, ready for evaluation, and its training fields as far as SAELens's metadata tell.

    Codes and reconstructions are SAELens's, up to rounding (16-bit weights are used in float32 here). Thresholds that
    are negative mean 0, as there. Activations of heads ("hook_z") are (B, m) here, head by head.

    Args:
        k: for architectures with thresholds or a gate, how many features other methods of inference get, if the folder
            does not tell.
        scaling_factor: by which activations were multiplied in training with "expected_average_only_in", where the
            folder does not tell: sqrt(m) / E||h||.

    Raises:
        InvalidFile: missing, damaged, another architecture, or activations that were scaled by what nobody tells.
        InvalidArgument: k or the scaling factor out of range.
    """
    folder = Path(folder)
    about = _with_current_names(folder, read_configuration(folder))
    path, kind = folder / CONFIGURATION, about["architecture"]
    if kind not in ARCHITECTURES:
        raise InvalidFile(path, _other_architecture(kind))
    typed(path, about, _About)
    if kind == ARCHITECTURE:
        if (about.get("normalize_activations") or "none") != "none":
            raise InvalidFile(path, f"normalises activations, which the architecture {kind!r} does not")
        require(scaling_factor is None, "scaling_factor", scaling_factor, f"must not be given for {kind!r}")
        return import_native(folder, about)
    if (reshaped := about.get("reshape_activations") or "none") not in ("none", "hook_z"):
        raise InvalidFile(path, f"has reshape_activations = {reshaped!r}; none and hook_z can be read")
    m, n = positive(folder, about, "d_in"), positive(folder, about, "d_sae")
    if kind in ("topk", "abstopk") and positive(folder, about, "k") > n:
        raise InvalidFile(path, f"has k = {about['k']}, more than its {n} features")
    parts = _parts(Part(folder / WEIGHTS), kind, m, n)
    if not about.get("apply_b_dec_to_input", True):
        parts = parts.coding_all_of_h()
    how = about.get("normalize_activations") or "none"
    if how == "layer_norm" and m < 2:
        raise InvalidFile(path, f"normalises tokens of d_in = {m} entries by their standard deviation, which is none")
    factor = _scaling_factor(folder, how, scaling_factor)
    parts = parts.coding_scaled(factor) if factor != 1 else parts
    if kind in _RESCALED and about.get("rescale_acts_by_decoder_norm", False):
        # Scores are multiplied by the column's norm and codes divided by it again in decoding: a unit decoder.
        if not bool((parts.norms > 0).all()):
            raise InvalidFile(folder / WEIGHTS, "holds a zero decoder column, whose norm codes are divided by")
        parts = parts.with_unit_columns()
        if parts.threshold is not None and factor != 1:  # it was learned before the fold divided the norms
            parts = replace(parts, threshold=parts.threshold / factor)
    if how == _WHITENED:
        parts = _unwhitened(folder, parts, m)
    metadata = about.get("metadata", {})
    groups = _groups(path, about, metadata, n)
    k = positive(folder, about, "k") if kind in ("topk", "abstopk") else _mean_k(about, metadata, n) if k is None else k
    norms = how if how in NORMALISATIONS else "none"
    sae = imported(parts, k=k, magnitude=kind == "abstopk", normalisation=norms)
    return sae, fields_of_saelens(metadata) | ({} if groups is None else {"groups": groups})


class _About(TypedDict, total=False):
    """What is read of a configuration beside its sizes."""

    apply_b_dec_to_input: bool
    rescale_acts_by_decoder_norm: bool
    normalize_activations: str | None
    reshape_activations: str | None
    metadata: dict[str, Any]


def _other_architecture(kind: Any) -> str:
    if "transcoder" in str(kind):
        return f"is a transcoder ({kind!r}), which no SAE is; sae_bridge.transcoders.load_any_transcoder reads it"
    return f"has the architecture {kind!r}; those that can be read: {', '.join(ARCHITECTURES)}"


def _parts(part: Part, kind: str, m: int, n: int) -> ImportedTensors:
    """The tensors of a folder, as they are, b_dec being subtracted from the input."""
    more: dict[str, Tensor] = {}
    if kind in _CHECKPOINTS:
        more["threshold"] = part.take("topk_threshold").expand(n).clone()
    elif kind == "jumprelu":
        logarithm = "log_threshold" in part  # of training checkpoints of earlier releases
        more["threshold"] = part.take("log_threshold", n).exp() if logarithm else part.take("threshold", n)
    elif kind == "gated":
        more |= {"r_mag": part.take("r_mag", n), "b_mag": part.take("b_mag", n)}
    b_enc = part.take("b_gate" if kind == "gated" else "b_enc", n)
    if kind == "standard":
        more["threshold"] = b_enc.new_zeros(n)
    parts = ImportedTensors(part.take("W_enc", m, n).T, part.take("W_dec", n, m), b_enc, part.take("b_dec", m), **more)
    if "scaling_factor" in part and bool((part.take("scaling_factor", n) != 1).any()):
        raise InvalidFile(part.path, "rescales its codes (scaling_factor), which SAELens itself no longer reads")
    part.finish()
    return parts


def _scaling_factor(folder: Path, how: str, given: float | None) -> float:
    """By what activations are multiplied before they are coded, which SAELens folds in when training ends."""
    path = folder / CONFIGURATION
    if given is not None:
        require(math.isfinite(given) and given > 0, "scaling_factor", given, "must be positive and finite")
        require(
            how == _SCALED, "scaling_factor", given, f"must not be given: {path} has normalize_activations = {how!r}"
        )
        return given
    if how in (*NORMALISATIONS, _WHITENED):
        return 1.0
    if how != _SCALED:
        allowed = ", ".join((*NORMALISATIONS, _SCALED, _WHITENED))
        raise InvalidFile(path, f"has normalize_activations = {how!r}; those that can be read: {allowed}")
    scaler = folder / _SCALER
    stored = read_json(scaler, dict[str, Any]).get("scaling_factor") if scaler.is_file() else None
    if stored is None:
        wants = f"was trained on activations times a factor ({_SCALED}) that the folder does not tell"
        raise InvalidFile(path, f"{wants}: give scaling_factor, sqrt(m) / E||h|| (1: folded in), or {_SCALER}")
    number = isinstance(stored, int | float) and not isinstance(stored, bool)
    if not number or not math.isfinite(stored) or stored <= 0:
        raise InvalidFile(scaler, f"has scaling_factor = {stored!r}, expected a positive number")
    return float(stored)


def _unwhitened(folder: Path, parts: ImportedTensors, m: int) -> ImportedTensors:
    path = folder / _WHITENING
    if not path.is_file():
        raise InvalidFile(folder / CONFIGURATION, f"whitens activations ({_WHITENED}), and {path.name} is missing")
    part = Part(path)
    mean, matrix, inverse = part.take("mean", m), part.take("matrix", m, m), part.take("inverse_matrix", m, m)
    part.finish()
    return parts.coding_whitened(mean, matrix, inverse)


def _details(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the metadata of an SAE for inference say of how it was trained."""
    details = metadata.get("training_architecture_details")
    return details if isinstance(details, Mapping) else {}


def _mean_k(about: Mapping[str, Any], metadata: Mapping[str, Any], n: int) -> int | None:
    """How many features a token has in the mean, as far as known: BatchTopK's k, or what JumpReLU was trained to."""
    places = (about, metadata, _details(metadata))
    for found in (mean_sparsity(place.get(name)) for name in ("k", "target_l0") for place in places):
        if found is not None and found <= n:
            return found
    return None


def _groups_metadata(raw: RawSAE, activation: str) -> dict[str, Any]:
    if raw.groups is None:
        return {}
    kind = f"matryoshka_{activation.replace('_', '')}"
    return {"training_architecture": kind, "training_architecture_details": {_WIDTHS: list(raw.groups), "k": raw.k}}


def _groups(path: Path, about: Mapping[str, Any], metadata: Mapping[str, Any], n: int) -> list[int] | None:
    """Sizes of the prefixes of a Matryoshka SAE, the last n, or None."""
    widths = about.get(_WIDTHS, _details(metadata).get(_WIDTHS))
    if widths is None:
        return None
    sizes = isinstance(widths, list) and all(isinstance(w, int) and not isinstance(w, bool) and w > 0 for w in widths)
    if not sizes or widths != sorted(set(widths)) or not widths or widths[-1] > n:
        raise InvalidFile(path, f"has {_WIDTHS} = {widths!r}, expected increasing sizes of at most d_sae = {n}")
    return widths if widths[-1] == n else [*widths, n]  # SAELens adds the last


def _with_current_names(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """A configuration of a release before 6 as one of now: its metadata lay flat, and TopK was an activation."""
    if isinstance(about.get("metadata"), dict) and "architecture" in about:
        return about
    path = folder / CONFIGURATION
    if "d_sae" not in about:
        kind = f"; its kind is {about['kind']!r}" if "kind" in about else ""
        raise InvalidFile(path, f"is not the configuration of a SAELens SAE (it has no d_sae){kind}")
    new = {"architecture": "standard", **about, "metadata": about}
    if isinstance(about.get("normalize_activations"), bool):
        new["normalize_activations"] = _SCALED if about["normalize_activations"] else "none"
    how = about.get("activation_fn_str", about.get("activation_fn", "relu"))
    if new["architecture"] == "standard" and how != "relu":
        if how != "topk":
            raise InvalidFile(path, f"has the activation function {how!r}; relu and topk can be read")
        options = about.get("activation_fn_kwargs")
        new |= {"architecture": "topk", "k": options.get("k") if isinstance(options, dict) else None}
    return new
