"""SAEs of one storage after another, each trained for and coded by the same inference: TopK, or OMP."""

from __future__ import annotations

from sae_bridge.suites.presets import Setting
from sae_bridge.suites.variants import Variant, architecture, by_pursuit, changed, small_dense
from sae_bridge.training import Training


def equal_inference(setting: Setting, m: int) -> list[Variant]:
    """What :class:`sae_bridge.suites.EqualInference` of a setting says: masks, learned supports, blocks, dense ones.

    Each takes the learning rate of the plain SAE of its degree, or of the dense one of its size.
    """
    base, sizes = setting.recipe, setting.equal_inference
    dense = [small_dense(base, m, d) for d in sizes.dense]
    moving = [learned(architecture(base, d)) for d in sizes.learned]
    blocks = [block(base, r, d) for r, d in sizes.blocks]
    return [
        *(architecture(base, d) for d in sorted(setting.sparse_degrees)),
        *(*moving[:1], *blocks[:1], *dense, architecture(base, None)),
        *(by_pursuit(architecture(base, d)) for d in sizes.uniform),
        *(by_pursuit(variant) for variant in (*moving, *blocks, *dense)),
    ]


def large(setting: Setting, m: int) -> list[Variant]:
    """Those that take long: large blocks, large dense ones by both kinds of inference, dense of all features."""
    base, sizes = setting.recipe, setting.equal_inference
    dense = [small_dense(base, m, d) for d in sizes.large_dense]
    blocks = [block(base, r, d) for r, d in sizes.large_blocks]
    if not (dense or blocks):
        return []
    return [*dense, *(by_pursuit(variant) for variant in (*blocks, *dense, architecture(base, None)))]


def longer(setting: Setting) -> list[Variant]:
    """The first of its learned supports and of its blocks, by OMP, after more steps."""
    base, sizes, times = setting.recipe, setting.equal_inference, setting.equal_inference.longer
    first = [learned(architecture(base, d)) for d in sizes.learned[:1]]
    first += [block(base, r, d) for r, d in sizes.blocks[:1]]
    return [_longer(by_pursuit(variant), times) for variant in first if times]


def learned(variant: Variant) -> Variant:
    """The same, with supports that are learned."""
    return changed(variant, f"{variant.name}-learned", f"{variant.label}, learned supports", supports="momentum")


def block(base: Training, r: int, d: int) -> Variant:
    """r dense columns beside learned supports of degree d."""
    found = learned(architecture(base, d))
    return changed(found, f"r{r}-{found.name}", f"{r} dense columns, {found.label}", dense_columns=r)


def _longer(variant: Variant, times: int) -> Variant:
    steps = times * variant.training.steps
    return changed(variant, f"{variant.name}-long", f"{variant.label}, {times} times the steps", steps=steps)
