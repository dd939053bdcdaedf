"""Where SAEs are set against codes that have learned nothing: models and layers, by the name of a preset."""

from __future__ import annotations

from dataclasses import replace

from sae_bridge.activations import Harvest
from sae_bridge.evaluation import NullKind
from sae_bridge.suites.presets import FULL, Setting, settings
from sae_bridge.training import Training

_NULLS: tuple[NullKind, ...] = ("coordinates", "untrained")

_HERE = replace(
    FULL,
    harvest=Harvest(context=64, train_contexts=640, held_out_contexts=24, dtype="bfloat16"),
    degrees=(None, 32, 8),
    recipe=Training(n=1152, k=32, steps=200, dead_after=20_000),
    batch=256,
    rate_steps=25,
    seeds=(0,),
    nulls=_NULLS,
    nulls_over_k=_NULLS,
)
"""What the models that anybody can fetch share: small SAEs, one seed."""


def places() -> dict[str, tuple[Setting, ...]]:
    """By preset: "quick", "full" (every model that ``expander fetch`` brings), and the paper's, one place each.

    A setting's name says the place: what its folder is called.
    """
    known = settings()
    papers = {name: (_one_seed(setting),) for name, setting in known.items() if name not in ("quick", "full")}
    return {"quick": (_smaller(known["quick"]),), "full": _fetched(), **papers}


def _one_seed(setting: Setting) -> Setting:
    return replace(setting, seeds=setting.control_seeds[:1], nulls=_NULLS, nulls_over_k=_NULLS)


def _smaller(quick: Setting) -> Setting:
    """The least and the usual k, the largest degree and that of the controls."""
    degrees = (None, max(quick.sparse_degrees), quick.d)
    return replace(_one_seed(quick), degrees=degrees, ks=quick.ks[:1])


def _fetched() -> tuple[Setting, ...]:
    smol = [_at(f"smollm2-135m-layer{layer}", "default", layer) for layer in (4, 14, 24)]
    stories = replace(_at("stories15m-layer3", "stories", 3), sampled=768)
    return (*smol, _at("gemma-3-270m-layer8", "gemma", 8), stories)


def _at(name: str, model: str, layer: int) -> Setting:
    return replace(_HERE, name=name, model=model, harvest=replace(_HERE.harvest, layer=layer))
