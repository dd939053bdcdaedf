"""sparsify folders (``<hookpoint>/cfg.json``, ``sae.safetensors``), both ways and without sparsify.

Its sparse coders (checked against eai-sparsify 1.3.3) hold ``encoder.weight`` (n, m), ``encoder.bias`` (n,), ``W_dec``
(n, m) and ``b_dec`` (m,), and mean: the k largest of relu(E (h - b_dec) + bias), decoded as code W_dec + b_dec.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from expander_theory.base import InvalidArgument, InvalidFile, require
from sae_bridge.interop._folders import CONFIGURATION, Part, positive, read_configuration, write_folder
from sae_bridge.interop._metadata import fields_of_hookpoint, provenance, sparsify_hookpoint
from sae_bridge.interop._parts import ImportedTensors
from sae_bridge.interop._raw import in_raw_units
from sae_bridge.interop.imported import ImportedSAE, imported
from sae_bridge.sae import SparseAutoencoder

WEIGHTS = "sae.safetensors"

_EXTRA = "expander_theory"  # sparsify drops fields that it does not know
_FIELDS = ("language_model", "layer", "hook", "context")
_OTHER_MEANING = ("transcode", "skip_connection", "embed_skip", "gram_lookup", "signed")
"""Options, of any release, under which the tensors mean something else than a TopK SAE."""


def export_sparsify(
    sae: SparseAutoencoder,
    folder: str | os.PathLike[str],
    fields: dict[str, Any] | None = None,
    *,
    hookpoint: str | None = None,
) -> Path:
    """Write an SAE, densified, as ``folder/<hookpoint>/``, which is returned; its reconstructions are the same.

    Decoder columns are unit and codes are the SAE's own divided by its scale s.

    Args:
        fields: training fields, as ``load_sae`` gives them: they name the hookpoint.
        hookpoint: the module whose output the activations are, in the model's own names ("layers.3", "h.3"); None:
            from the fields, as "layers.<layer>".

    Raises:
        InvalidArgument: BatchTopK or selection by magnitude, which sparsify does not have; no hookpoint; NaN values.
    """
    raw = in_raw_units(sae)
    require(
        sae.activation == "topk", "sae.activation", repr(sae.activation), "must be 'topk': sparsify has no threshold"
    )
    signed = sae.selection == "signed"
    require(signed, "sae.selection", repr(sae.selection), "must be 'signed': sparsify has no selection by magnitude")
    fields = fields or {}
    name = hookpoint or sparsify_hookpoint(fields)
    if name is None:
        raise InvalidArgument("hookpoint", None, "must be given: the training fields name no layer and hook")
    plain = name not in (".", "..") and "/" not in name and "\\" not in name
    require(plain, "hookpoint", repr(name), "must be a module's name, such as 'layers.3'")
    about = {
        **{"activation": "topk", "expansion_factor": max(1, raw.n // raw.m), "normalize_decoder": True},
        **{"num_latents": raw.n, "k": raw.k, "multi_topk": False, "skip_connection": False, "transcode": False},
        "d_in": raw.m,
        _EXTRA: {key: fields[key] for key in _FIELDS if key in fields} | provenance(raw),
    }
    tensors = {
        "encoder.weight": raw.dense(raw.encoder),
        "encoder.bias": raw.b_enc,
        "W_dec": raw.dense(raw.weight),
        "b_dec": raw.b_dec,
    }
    write_folder(Path(folder) / name, WEIGHTS, about, tensors)
    return Path(folder) / name


def import_sparsify(folder: str | os.PathLike[str]) -> tuple[SparseAutoencoder | ImportedSAE, dict[str, Any]]:
    """A sparse coder, ready for evaluation, and its training fields as far as the folder tells.

    Codes and reconstructions are sparsify's, up to rounding (16-bit weights are used in float32 here).

    Args:
        folder: that of one hookpoint.

    Raises:
        InvalidFile: missing, damaged, a transcoder, or another activation than TopK.
    """
    folder = Path(folder)
    if not (folder / CONFIGURATION).is_file() and (inside := sorted(folder.glob(f"*/{CONFIGURATION}"))):
        names = ", ".join(path.parent.name for path in inside)
        raise InvalidFile(folder, f"holds several folders; name one: {names}")
    about = read_configuration(folder)
    path = folder / CONFIGURATION
    if "d_in" not in about or "k" not in about:
        raise InvalidFile(path, "is not the configuration of a sparsify SAE (it needs d_in and k)")
    if about.get("activation", "topk") != "topk":
        raise InvalidFile(path, f"has the activation {about['activation']!r}; topk can be read")
    unknown = [name for name in _OTHER_MEANING if about.get(name)]
    if unknown:
        hint = "; sae_bridge.transcoders reads those that transcode or skip"
        raise InvalidFile(path, f"has {', '.join(unknown)}: not a plain TopK SAE{hint}")
    m, k = positive(folder, about, "d_in"), positive(folder, about, "k")
    n = about.get("num_latents") and positive(folder, about, "num_latents")
    n = n or m * positive(folder, about, "expansion_factor")
    if k > n:
        raise InvalidFile(path, f"has k = {k}, more than its {n} features")
    part = Part(folder / WEIGHTS)
    encoder, weight = part.take("encoder.weight", n, m), part.take("W_dec", n, m)
    b_enc, b_dec = part.take("encoder.bias", n), part.take("b_dec", m)
    part.finish()
    extra = about.get(_EXTRA)
    ours = extra if isinstance(extra, dict) else {}
    fields = fields_of_hookpoint(folder.resolve().name) | {key: ours[key] for key in _FIELDS if key in ours}
    return imported(ImportedTensors(encoder, weight, b_enc, b_dec), k=k), fields
