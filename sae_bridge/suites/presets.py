"""Where the SAEs of a suite are trained: model, layer, sizes and effort, by the name of a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sae_bridge.activations import Harvest, TokenPolicy
from sae_bridge.evaluation import NULL_KINDS, NullKind, Positions
from sae_bridge.suites.paper import PaperRun, paper_runs, reported
from sae_bridge.training import Training

RATES = (8e-3, 16e-3, 32e-3, 64e-3)
"""For sqrt(m / d) scaled rates; the sweep goes on where the best one is at an end."""

"""How many times the steps of the others the long runs at equal inference have."""

METHODS = ("encoder", "least_squares", "mp", "omp", "omp_nonnegative", "gomp", "niht", "cosamp")


@dataclass(frozen=True)
class EqualInference:
    """Sizes of the comparison over storage at equal inference (TopK, OMP).

    Attributes:
        uniform: degrees of random masks, coded by OMP; those of the frontier are coded by TopK.
        learned: degrees of learned supports, coded by OMP.
        blocks: dense columns and degree of the others, on learned supports, coded by OMP.
        dense: dense SAEs have as many values as masks of these degrees; coded by TopK, and by OMP.
        large_blocks, large_dense: such as take long, of the first seed alone; beside them, if there are any, the dense
            SAE of all n features is coded by OMP.
        seeds: of all others. The first of ``learned`` and of ``blocks`` are also coded by TopK, and, with the first
            seed, by OMP after ``longer`` times the steps.
        longer: 0 for none of these.
    """

    uniform: tuple[int, ...] = (2, 8, 32)
    learned: tuple[int, ...] = (8, 2, 32, 64)
    blocks: tuple[tuple[int, int], ...] = ((24, 5), (96, 18))
    dense: tuple[int, ...] = (8, 16, 64)
    large_blocks: tuple[tuple[int, int], ...] = ((192, 36), (512, 90))
    large_dense: tuple[int, ...] = (256,)
    seeds: tuple[int, ...] = (0, 1, 2)
    longer: int = 10


@dataclass(frozen=True)
class FinetuneSizes:
    """Sizes of the short finetunes on the model's output. A token costs three runs of the model.

    Attributes:
        steps: optimiser steps.
        contexts: contexts a step.
        rates: peak rates, each with its control; the first one also with constant codes.
        weights: of the KL divergence, beside 1, at the first rate.
    """

    steps: int = 4
    contexts: int = 4
    rates: tuple[float, ...] = (1.6e-3,)
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class FeatureSizes:
    """How much is looked at when features are scored.

    Attributes:
        contexts: of training text, from which rates by token come.
        least: firings in held-out text that a unit needs.
        texts: labelled texts for probes, as :func:`sae_bridge.probing.read_labelled` takes them; "" for none.
        documents: at most so many of them.
        ks: features of a probe.
        large: whether the dense SAE is also coded by OMP, for the first seed.
    """

    contexts: int = 400
    least: int = 10
    texts: str = "bbc"
    documents: int = 600
    ks: tuple[int, ...] = (1, 5, 20)
    large: bool = True


@dataclass(frozen=True)
class Setting:
    """One model, layer and size, and how much is run there.

    Attributes:
        name: of the preset.
        model, text: as :func:`sae_bridge.models.load_language_model` and :class:`sae_bridge.activations.TextSource`
            take them.
        harvest: layer, contexts, token policy.
        degrees: of the frontier; None is the dense SAE.
        recipe: what all SAEs share; d, seed and learning rate are set for each.
        batch: tokens a step.
        rates: grid of the sweep that finds each architecture's own rate; empty: the recipe's rate for all.
        rate_steps: steps of the sweep's runs.
        seeds: of masks and initial weights of the frontier.
        positions: where reconstructions and ablations act.
        reported: the paper's CE recovered by architecture, where the paper has this setting.
        pursued: whether every SAE is also run through the model with codes by OMP instead of its encoder's.
        d: degree of the controls and of the better recipes.
        ks: sparsities beside the recipe's own.
        sparsity_degrees: those that are compared over k.
        control_seeds: seeds of everything but the frontier.
        methods: of inference, compared on frozen decoders.
        supports: real supports whose recovery is examined, for each decoder.
        planted_ks, planted_trials: planted codes on each decoder.
        equal_inference: what is compared over storage, with the same inference for all.
        finetune: sizes of the short finetunes.
        features: how much is looked at when features are scored.
        nulls: kinds of codes without learning that are measured at the recipe's own k.
        nulls_over_k: those that are measured at every k.
        sampled: so many documents that the model writes itself are the text, for a model whose training text is not at
            hand; 0: ``text`` is.
    """

    name: str
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
    pursued: bool = False
    d: int = 8
    ks: tuple[int, ...] = ()
    sparsity_degrees: tuple[int | None, ...] = ()
    control_seeds: tuple[int, ...] = (0,)
    methods: tuple[str, ...] = METHODS
    supports: int = 0
    planted_ks: tuple[int, ...] = ()
    planted_trials: int = 0
    equal_inference: EqualInference = EqualInference()
    finetune: FinetuneSizes = FinetuneSizes()
    features: FeatureSizes = FeatureSizes()
    nulls: tuple[NullKind, ...] = NULL_KINDS
    nulls_over_k: tuple[NullKind, ...] = ("coordinates",)
    sampled: int = 0

    @property
    def sparse_degrees(self) -> tuple[int, ...]:
        """Degrees of the frontier without the dense SAE."""
        return tuple(d for d in self.degrees if d is not None)

    def changed(
        self,
        *,
        model: str | None = None,
        text: tuple[str, ...] = (),
        layer: int | None = None,
        degrees: tuple[int, ...] = (),
        seeds: tuple[int, ...] = (),
        steps: int | None = None,
    ) -> Setting:
        """The setting with what is given, as a command line does; seeds are those of everything, degrees beside dense.

        What is empty or None stays.
        """
        given = {"model": model, "text": text, "seeds": seeds, "control_seeds": seeds}
        found = replace(self, **{name: value for name, value in given.items() if value})
        if seeds:
            found = replace(found, equal_inference=replace(found.equal_inference, seeds=seeds))
        if degrees:
            found = replace(found, degrees=(None, *degrees))
        if layer is not None:
            found = replace(found, harvest=replace(found.harvest, layer=layer))
        return found if steps is None else replace(found, recipe=replace(found.recipe, steps=steps))


QUICK = Setting(
    name="quick",
    model="default",
    text=("enwik8",),
    harvest=Harvest(context=64, train_contexts=480, held_out_contexts=16),
    degrees=(None, 32, 8, 4, 2),
    recipe=Training(n=1152, k=16, steps=128, dead_after=20_000),
    batch=512,
    rates=(16e-3, 32e-3, 64e-3),
    rate_steps=25,
    seeds=(0, 1, 2),
    ks=(4, 8, 16),
    sparsity_degrees=(None, 8),
    supports=50,
    planted_ks=(1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 160),
    planted_trials=25,
    equal_inference=EqualInference((8,), (8,), ((8, 6),), (16,), (), (), seeds=(0,), longer=0),
    features=FeatureSizes(contexts=200, least=5, documents=200, large=False),
)

FULL = Setting(
    name="full",
    model="default",
    text=("enwik8",),
    harvest=Harvest(train_contexts=1600, held_out_contexts=32, dtype="bfloat16"),
    degrees=(None, 128, 64, 32, 16, 8, 7, 4, 2),
    recipe=Training(n=2304, k=32, steps=400, dead_after=50_000),
    rates=(16e-3, 32e-3, 64e-3),
    rate_steps=50,
    seeds=(0, 1, 2),
    ks=(8, 16, 32, 64, 128),
    sparsity_degrees=(None, 32, 8),
    control_seeds=(0, 1),
    finetune=FinetuneSizes(steps=30, contexts=4),
    supports=200,
    planted_ks=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192),
    planted_trials=100,
)

COMPARE = Setting(
    name="compare-quick",
    model="default",
    text=("enwik8",),
    harvest=Harvest(train_contexts=640, held_out_contexts=48),
    degrees=(None, 64, 32, 16, 8, 4),
    recipe=Training(n=4608, k=32, steps=500),
    pursued=True,
)

COMPARE_FULL = replace(
    COMPARE,
    name="compare-full",
    harvest=Harvest(train_contexts=16_000, held_out_contexts=512, dtype="bfloat16"),
    degrees=(None, 128, 64, 32, 16, 8, 7, 4),
    recipe=Training(n=4608, k=32, steps=6000, dead_after=500_000),
    rate_steps=1000,
    seeds=(0, 1, 2),
)

COMPARE_GEMMA = replace(COMPARE, name="compare-gemma", model="gemma", recipe=Training(n=5120, k=32, steps=500))


def settings() -> dict[str, Setting]:
    """Settings of the experiments: "quick", "full", and the paper's, "MODEL-layerL" for each model and layer."""
    return {"quick": QUICK, "full": FULL, **_of_the_paper()}


def comparisons() -> dict[str, Setting]:
    """Settings of ``expander sae compare``, by name: "quick", "full", "gemma", and "MODEL-layerL" as in the paper."""
    paper = {name: replace(setting, pursued=True) for name, setting in _of_the_paper().items()}
    return {"quick": COMPARE, "full": COMPARE_FULL, "gemma": COMPARE_GEMMA, **paper}


def _of_the_paper() -> dict[str, Setting]:
    return {f"{run.name}-layer{layer}": _paper(run, layer) for run in paper_runs().values() for layer in run.layers}


def _paper(run: PaperRun, layer: int) -> Setting:
    """The paper's setting and recipe for one of its models and layers.

    What differs: activations come from ``text`` documents cut into contexts, held out by document, and every position
    counts, as in the paper; codes have a ReLU after the k largest scores, which the paper's code leaves out.
    """
    recipe = run.recipe
    return replace(
        FULL,
        name=f"{run.name}-layer{layer}",
        model=run.model,
        harvest=Harvest(
            layer=layer,
            hook=run.hook,
            context=recipe.context,
            train_contexts=-(-recipe.tokens // recipe.context),
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
        rate_steps=100,
        positions="all",
        reported=tuple(reported(run, layer).items()),
        d=min(run.degrees),
        ks=(16, 32, 64, 128),
        sparsity_degrees=(None, max(run.degrees), min(run.degrees)),
    )
