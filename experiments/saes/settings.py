"""Where SAEs of the suite are trained: model, layer, sizes and effort, by the name of a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from experiments.saes.paper import paper_runs
from experiments.saes.sae_presets import QUICK as COMPARE_QUICK, Comparison, paper_comparison
from sae_bridge.activations import Harvest
from sae_bridge.training import Training


@dataclass(frozen=True)
class Setting:
    """One model, layer and size, and how much is run there.

    Attributes:
        name: of the preset.
        plan: model, text, harvest, recipe, batch, grid of rates, seeds, positions; its degrees are the frontier's.
        d: degree of the controls and of the better recipes.
        ks: sparsities beside the recipe's own.
        sparsity_degrees: those that are compared over k.
        control_seeds: seeds of everything but the frontier.
        methods: of inference, compared on frozen decoders.
        supports: real supports whose recovery is examined, for each decoder.
        planted_ks, planted_trials: planted codes on each decoder.
    """

    name: str
    plan: Comparison
    d: int
    ks: tuple[int, ...]
    sparsity_degrees: tuple[int | None, ...]
    control_seeds: tuple[int, ...]
    methods: tuple[str, ...]
    supports: int
    planted_ks: tuple[int, ...]
    planted_trials: int

    @property
    def base(self) -> Training:
        """What all SAEs share."""
        return self.plan.recipe

    @property
    def degrees(self) -> tuple[int, ...]:
        """Of the frontier, without the dense one."""
        return tuple(d for d in self.plan.degrees if d is not None)


_METHODS = ("encoder", "least_squares", "mp", "omp", "omp_nonnegative", "gomp", "niht", "cosamp")

QUICK = Setting(
    name="quick",
    plan=replace(
        COMPARE_QUICK,
        harvest=Harvest(context=64, train_contexts=480, held_out_contexts=16),
        degrees=(None, 32, 8, 4, 2),
        recipe=Training(n=1152, k=16, steps=128, dead_after=20_000),
        batch=512,
        rates=(16e-3, 32e-3, 64e-3),
        rate_steps=25,
        seeds=(0, 1, 2),
    ),
    d=8,
    ks=(4, 8, 16),
    sparsity_degrees=(None, 8),
    control_seeds=(0,),
    methods=_METHODS,
    supports=50,
    planted_ks=(1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 160),
    planted_trials=25,
)

FULL = Setting(
    name="full",
    plan=replace(
        COMPARE_QUICK,
        harvest=Harvest(train_contexts=1600, held_out_contexts=32, dtype="bfloat16"),
        degrees=(None, 128, 64, 32, 16, 8, 7, 4, 2),
        recipe=Training(n=2304, k=32, steps=400, dead_after=50_000),
        rates=(16e-3, 32e-3, 64e-3),
        rate_steps=50,
        seeds=(0, 1, 2),
    ),
    d=8,
    ks=(8, 16, 32, 64, 128),
    sparsity_degrees=(None, 32, 8),
    control_seeds=(0, 1),
    methods=_METHODS,
    supports=200,
    planted_ks=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192),
    planted_trials=100,
)


def settings() -> dict[str, Setting]:
    """By name: "quick", "full", and "MODEL-layerL" for each model and layer of the paper."""
    found = {"quick": QUICK, "full": FULL}
    for run in paper_runs().values():
        for layer in run.layers:
            plan = paper_comparison(run, layer)
            degrees = tuple(d for d in plan.degrees if d is not None)
            name = f"{run.name}-layer{layer}"
            found[name] = replace(
                FULL,
                name=name,
                plan=plan,
                d=min(degrees),
                ks=(16, 32, 64, 128),
                sparsity_degrees=(None, max(degrees), min(degrees)),
            )
    return found
