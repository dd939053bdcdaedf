"""What ``expander sae compare`` runs: dense and expander SAEs on one layer of one language model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from experiments.saes.paper import PaperRun, paper_runs, reported
from sae_bridge.activations import Harvest, TokenPolicy
from sae_bridge.evaluation import Positions
from sae_bridge.training import Training

RATES = (8e-3, 16e-3, 32e-3, 64e-3)
"""For sqrt(m / d) scaled rates; the sweep goes on where the best one is at an end."""


@dataclass(frozen=True)
class Comparison:
    """One comparison.

    Attributes:
        model, text: as :func:`sae_bridge.models.load_language_model` and the text source take them.
        harvest: layer, contexts, policy.
        degrees: of the expander SAEs; None is the dense one.
        recipe: what all SAEs share; d, seed and rate are set for each.
        batch: tokens a step.
        rates: grid of the sweep that finds each architecture's own rate; empty: the recipe's rate for all.
        rate_steps: steps of the sweep's runs.
        seeds: of masks and initial weights.
        positions: where reconstructions and ablations act.
        reported: the paper's CE recovered by architecture, where the paper has this setting.
    """

    model: str
    text: tuple[str, ...]
    harvest: Harvest
    degrees: tuple[int | None, ...]
    recipe: Training
    batch: int = 1024
    rates: tuple[float, ...] = RATES
    rate_steps: int = 100
    seeds: tuple[int, ...] = (0,)
    positions: Positions = "kept"
    reported: tuple[tuple[str, float], ...] = ()

    def name(self, d: int | None) -> str:
        """Of an architecture."""
        return "dense" if d is None else f"d{d}"

    def recipes(self, seed: int) -> dict[str, Training]:
        """Of every architecture, at one seed and the shared rate."""
        return {self.name(d): replace(self.recipe, d=d, seed=seed) for d in self.degrees}


_DEGREES = (None, 64, 32, 16, 8, 4)

QUICK = Comparison(
    model="default",
    text=("enwik8",),
    harvest=Harvest(train_contexts=640, held_out_contexts=48),
    degrees=_DEGREES,
    recipe=Training(n=4608, k=32, steps=500),
)

FULL = replace(
    QUICK,
    harvest=Harvest(train_contexts=16_000, held_out_contexts=512, dtype="bfloat16"),
    degrees=(None, 128, 64, 32, 16, 8, 7, 4),
    recipe=Training(n=4608, k=32, steps=6000, dead_after=500_000),
    rate_steps=1000,
    seeds=(0, 1, 2),
)

GEMMA = replace(QUICK, model="gemma", recipe=Training(n=5120, k=32, steps=500))


def paper_comparison(run: PaperRun, layer: int, *, seeds: tuple[int, ...] = (0, 1, 2)) -> Comparison:
    """The paper's setting and recipe for one of its models and layers.

    What differs: activations come from ``text`` documents cut into contexts, held out by document, and every position
    counts, as in the paper; codes have a ReLU after the k largest scores, which the paper's code leaves out.
    """
    recipe = run.recipe
    contexts = -(-recipe.tokens // recipe.context)
    return Comparison(
        model=run.model,
        text=("enwik8",),
        harvest=Harvest(
            layer=layer,
            hook=run.hook,
            context=recipe.context,
            train_contexts=contexts,
            held_out_contexts=recipe.ce_contexts,
            policy=TokenPolicy(bos=run.bos, drop_first=False, drop_special=False, outlier_ratio=None),
        ),
        degrees=(None, *sorted(run.degrees, reverse=True)),
        recipe=Training(
            n=run.n,
            k=run.k,
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            scale_rate=False,
            warm_up=0.0,
            final_rate=recipe.final_learning_rate / recipe.learning_rate,
            clip=recipe.clip,
            revival="resample",
        ),
        batch=recipe.batch,
        rates=(),
        seeds=seeds,
        positions="all",
        reported=tuple(reported(run, layer).items()),
    )


def comparisons() -> dict[str, Comparison]:
    """By name: "quick", "full", "gemma", and "MODEL-layerL" for each model and layer of the paper."""
    found = {"quick": QUICK, "full": FULL, "gemma": GEMMA}
    for run in paper_runs().values():
        for layer in run.layers:
            found[f"{run.name}-layer{layer}"] = paper_comparison(run, layer)
    return found
