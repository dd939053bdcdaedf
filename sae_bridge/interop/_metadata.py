"""Where an SAE's activations came from, in our names and in those of SAELens and sparsify."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sae_bridge.interop._raw import RawSAE

SAELENS_FORMAT = "6.54.0"
"""The release of SAELens whose configuration is written; before 6 its fields lay flat."""

_LENS_NAMES = {
    "resid_pre": "hook_resid_pre",
    "resid_post": "hook_resid_post",
    "mlp_in": "mlp.hook_in",
    "mlp_out": "hook_mlp_out",
    "attn_out": "hook_attn_out",
    "attn_z": "attn.hook_z",
}
_LENS_HOOK = re.compile(r"blocks\.(\d{1,9})\.([\w.]+)")
_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d{1,9})(?:\.(\w+))?")
_MODULES = {"mlp": "mlp_out", "self_attn": "attn_out", "attn": "attn_out", "attention": "attn_out"}
_OURS = {"mlp_out": "mlp", "attn_out": "self_attn"}


def lens_hook(layer: int, hook: str) -> str | None:
    """What TransformerLens, and so SAELens and SAEBench, call a hook point; None if they have none.

    The tensors are the same where TransformerLens does not process weights on loading (it can centre what is written
    into the residual stream, and fold norms and the bias of the values):

    - ``mlp_in`` is ``mlp.hook_in`` of its TransformerBridge (release 3 on), what the MLP reads; its older
      HookedTransformer has no such hook. It is not ``hook_mlp_in``, which comes before the norm, nor
      ``ln2.hook_normalized``, which comes before the norm's weight (but for a LayerNorm of a HookedTransformer).
    - ``attn_z`` has the heads in an axis of their own there; SAELens flattens them, in our order.
    - ``mlp_out`` and ``attn_out`` come after a norm that follows, as there. A constant that they are multiplied by
      (Granite) is in TransformerLens's, and not in ours.
    """
    name = _LENS_NAMES.get(hook)
    return None if name is None else f"blocks.{layer}.{name}"


def fields_of_lens_hook(name: object) -> dict[str, Any]:
    """Layer and hook, where :func:`lens_hook` gives this name; else none: what differs from our hooks has no field."""
    found = _LENS_HOOK.fullmatch(str(name))
    ours = {theirs: hook for hook, theirs in _LENS_NAMES.items()}
    return {"layer": int(found[1]), "hook": ours[found[2]]} if found and found[2] in ours else {}


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
        fields: "language_model", "layer", "hook" (one of ours), "context", "policy".
        model_name: the model's name in TransformerLens; None: as in the fields.
    """
    known: dict[str, Any] = {
        "model_name": model_name or fields.get("language_model"),
        "context_size": fields.get("context"),
    }
    if fields.get("layer") is not None and fields.get("hook") is not None:
        known["hook_name"] = lens_hook(fields["layer"], fields["hook"])
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
    fields |= fields_of_lens_hook(metadata.get("hook_name"))
    return {name: value for name, value in fields.items() if value is not None}


def sparsify_hookpoint(fields: Mapping[str, Any]) -> str | None:
    """The module whose output the activations are, as most models name it: "layers.3"; None if the fields don't tell.

    What block i reads is what block i - 1 (or the embedding) gives. ``mlp_out`` and ``attn_out`` are the outputs of
    "layers.3.mlp" and "layers.3.self_attn" in models of Llama's kind: not where a norm follows (Gemma 2 and 3, whose
    modules are "layers.3.post_feedforward_layernorm" and "layers.3.post_attention_layernorm"), and not where the module
    itself adds the residual stream (Bloom); give the name there. The inputs ``mlp_in`` and ``attn_z`` are no module's.
    """
    layer, hook = fields.get("layer"), fields.get("hook")
    if not isinstance(layer, int):
        return None
    if hook in _OURS:
        return f"layers.{layer}.{_OURS[hook]}"
    if hook not in ("resid_pre", "resid_post"):
        return None
    layer -= hook == "resid_pre"
    return f"layers.{layer}" if layer >= 0 else "embed_tokens"


def fields_of_hookpoint(name: str) -> dict[str, Any]:
    """Layer and hook, as far as the name of a sparsify folder tells; see :func:`sparsify_hookpoint` for the MLP's and
    the attention's."""
    if name == "embed_tokens":
        return {"layer": 0, "hook": "resid_pre"}
    module = _MODULE.fullmatch(name)
    hook = "resid_post" if module and module[2] is None else _MODULES.get(module[2]) if module else None
    return {"layer": int(module[1]), "hook": hook} if module and hook else {}
