"""Where an SAE's activations came from, in our names and in those of SAELens and sparsify."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sae_bridge.interop._raw import RawSAE

SAELENS_FORMAT = "6.54.0"
"""The release of SAELens whose configuration is written; before 6 its fields lay flat."""

_LENS_HOOK = re.compile(r"blocks\.(\d{1,9})\.hook_(resid_pre|resid_post)")
_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d{1,9})")


def provenance(raw: RawSAE) -> dict[str, Any]:
    """What a densified SAE was: its mask, and the factor that its codes were divided by."""
    about: dict[str, Any] = {"k": raw.k, "codes_divided_by": raw.scale}
    if raw.mask is not None:
        about |= {"d": raw.mask.d, "mask_recipe": raw.mask.recipe, "mask_sha256": raw.mask.sha256}
    if raw.first is not None:
        about["dense_columns"] = len(raw.first)
    return about


def saelens_metadata(fields: Mapping[str, Any], model_name: str | None) -> dict[str, Any]:
    """``metadata`` of a SAELens configuration, as far as training fields tell.

    Args:
        fields: "language_model", "layer", "hook" ("resid_pre" or "resid_post"), "context", "policy".
        model_name: the model's name in TransformerLens; None: as in the fields.
    """
    known: dict[str, Any] = {
        "model_name": model_name or fields.get("language_model"),
        "context_size": fields.get("context"),
    }
    if fields.get("layer") is not None and fields.get("hook") is not None:
        known["hook_name"] = f"blocks.{fields['layer']}.hook_{fields['hook']}"
    if isinstance(fields.get("policy"), Mapping):
        known["prepend_bos"] = fields["policy"].get("bos_id") is not None
    return {
        "sae_lens_version": SAELENS_FORMAT,
        "sae_lens_training_version": None,
        "model_class_name": "HookedTransformer",
        # The activations are those of the model as it is, without the folding that TransformerLens does by default.
        "model_from_pretrained_kwargs": {},
        **{name: value for name, value in known.items() if value is not None},
    }


def fields_of_saelens(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Training fields in our names, as far as SAELens's metadata tell."""
    fields: dict[str, Any] = {"language_model": metadata.get("model_name"), "context": metadata.get("context_size")}
    hook = _LENS_HOOK.fullmatch(str(metadata.get("hook_name")))
    if hook:
        fields |= {"layer": int(hook[1]), "hook": hook[2]}
    return {name: value for name, value in fields.items() if value is not None}


def sparsify_hookpoint(fields: Mapping[str, Any]) -> str | None:
    """The module whose output the activations are, as most models name it: "layers.3"; None if the fields don't tell.

    What block i reads is what block i - 1 (or the embedding) gives.
    """
    if not isinstance(fields.get("layer"), int) or fields.get("hook") not in ("resid_pre", "resid_post"):
        return None
    layer = fields["layer"] - (fields["hook"] == "resid_pre")
    return f"layers.{layer}" if layer >= 0 else "embed_tokens"


def fields_of_hookpoint(name: str) -> dict[str, Any]:
    """Layer and hook, as far as the name of a sparsify folder tells."""
    if name == "embed_tokens":
        return {"layer": 0, "hook": "resid_pre"}
    module = _MODULE.fullmatch(name)
    return {"layer": int(module[1]), "hook": "resid_post"} if module else {}
