"""SAEs of one storage after another, each trained for and coded by the same inference: TopK, or OMP."""

from __future__ import annotations

from dataclasses import replace

from sae_bridge.suites.presets import LONGER, Setting
from sae_bridge.suites.variants import Variant, architecture, small_dense
from sae_bridge.training import Training


def equal_inference(setting: Setting, m: int) -> list[Variant]:
    """What :class:`sae_bridge.suites.EqualInference` of a setting says: masks, learned supports, blocks, dense ones.

    Each takes the learning rate of the plain SAE of its degree, or of the dense one of its size.
    """
    base, sizes = setting.recipe, setting.equal_inference
    dense = [*(small_dense(base, m, d) for d in sizes.dense), architecture(base, None)]
    moving, blocks = _learned(setting)
    return [
        *(architecture(base, d) for d in sorted(setting.sparse_degrees)),
        *(*moving[:1], *blocks[:1]),
        *dense,
        *(by_pursuit(architecture(base, d)) for d in sizes.uniform),
        *(by_pursuit(variant) for variant in (*moving, *blocks, *dense)),
    ]


def longer(setting: Setting) -> list[Variant]:
    """The first of its learned supports and of its blocks, by OMP, after more steps."""
    moving, blocks = _learned(setting)
    return [_longer(by_pursuit(variant)) for variant in (*moving[:1], *blocks[:1])]


def _learned(setting: Setting) -> tuple[list[Variant], list[Variant]]:
    base, sizes = setting.recipe, setting.equal_inference
    moving = [learned(architecture(base, d)) for d in sizes.learned]
    return moving, [block(base, r, d) for r, d in sizes.blocks]


def by_pursuit(variant: Variant) -> Variant:
    """The same, with OMP in the loop and as encoder, at the same rate."""
    recipe = replace(variant.training, encoder="omp")
    return replace(
        variant,
        name=f"{variant.name}-omp",
        label=f"{variant.label}, OMP",
        training=recipe,
        rate_of=variant.rate_of or variant,
    )


def learned(variant: Variant) -> Variant:
    """The same, with supports that are learned."""
    recipe = replace(variant.training, supports="momentum")
    return replace(
        variant,
        name=f"{variant.name}-learned",
        label=f"{variant.label}, learned supports",
        training=recipe,
        rate_of=variant.rate_of or variant,
    )


def block(base: Training, r: int, d: int) -> Variant:
    """r dense columns beside learned supports of degree d."""
    plain = architecture(base, d)
    found = learned(plain)
    return replace(
        found,
        name=f"r{r}-{found.name}",
        label=f"{r} dense columns, {found.label}",
        training=replace(found.training, dense_columns=r),
    )


def _longer(variant: Variant) -> Variant:
    recipe = replace(variant.training, steps=LONGER * variant.training.steps)
    return replace(
        variant, name=f"{variant.name}-long", label=f"{variant.label}, {LONGER} times the steps", training=recipe
    )
