"""SAEs of one storage after another, each trained for and coded by the same inference: TopK, or OMP."""

from __future__ import annotations

from dataclasses import replace

from sae_bridge.suites.presets import Setting
from sae_bridge.suites.variants import Variant, architecture, small_dense
from sae_bridge.training import Training

_LONGER = 10


def equal_inference(setting: Setting, m: int) -> list[Variant]:
    """What :class:`sae_bridge.suites.EqualInference` of a setting says: masks, learned supports, blocks, dense ones.

    Each takes the learning rate of the plain SAE of its degree, or of the dense one of its size.
    """
    base, sizes = setting.recipe, setting.equal_inference
    dense = [*(small_dense(base, m, d) for d in sizes.dense), architecture(base, None)]
    moving = [*(learned(architecture(base, d)) for d in sizes.learned), *(block(base, r, d) for r, d in sizes.blocks)]
    both = [*moving[: sizes.by_topk], *moving[len(sizes.learned) :][: sizes.by_topk]]
    longer = [*moving[: sizes.long], *moving[len(sizes.learned) :][: sizes.long]]
    return [
        *(architecture(base, d) for d in sorted(setting.sparse_degrees)),
        *both,
        *dense,
        *(by_pursuit(architecture(base, d)) for d in sizes.uniform),
        *(by_pursuit(variant) for variant in (*moving, *dense)),
        *(long(by_pursuit(variant)) for variant in longer),
    ]


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


def long(variant: Variant) -> Variant:
    """The same, with ten times the steps."""
    recipe = replace(variant.training, steps=_LONGER * variant.training.steps)
    return replace(
        variant, name=f"{variant.name}-long", label=f"{variant.label}, {_LONGER} times the steps", training=recipe
    )
