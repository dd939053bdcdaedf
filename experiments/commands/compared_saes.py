"""The experiments that compare trained SAEs: each says which, the suite does the rest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from experiments.commands.on_saes import Compares

if TYPE_CHECKING:
    from expander_theory.results import EvaluationRecord
    from sae_bridge.suites import Member, SAESuite


EQUAL_INFERENCE = "equal-inference"
"""The fair part of the frontier, in the suite's ledger."""


@dataclass(frozen=True)
class Frontier(Compares):
    """Claim: d traces a storage-fidelity frontier. And the fair one: each kind of dictionary with the same inference.

    First the paper's comparison, with the ratio to dense at m/d near 293. Then uniform masks, learned supports, dense
    columns beside them, and dense SAEs with fewer features, all by TopK and all by OMP in training and use, over
    storage. Beside the SAEs stand codes that have learned nothing.
    """

    group: ClassVar[str] = "frontier"
    figures: ClassVar[tuple[str, ...]] = ("equal_inference", "storage_frontier", "trained_geometry", "cross_model")

    @staticmethod
    def members(suite: SAESuite) -> list[Member]:
        from sae_bridge.suites import architecture

        setting = suite.setting
        return [(architecture(setting.recipe, d), seed) for d, seed in product(setting.degrees, setting.seeds)]

    @classmethod
    def compare(cls, suite: SAESuite) -> list[EvaluationRecord]:
        from sae_bridge.suites import equal_inference, large, longer

        setting, m = suite.setting, suite.store.m
        first, *others = setting.equal_inference.seeds
        parts = [(equal_inference(setting, m), first), (large(setting, m), first)]
        parts += [(equal_inference(setting, m), seed) for seed in others]
        found = super().compare(suite)
        for variants, seed in (*parts, (longer(setting), first)):  # an interruption leaves whole frontiers
            found += suite.compare(EQUAL_INFERENCE, product(variants, [seed]))
        return found


@dataclass(frozen=True)
class CertifiedMask(Compares):
    """Beyond the paper: does overlap of at most one row cost fidelity?

    A mask whose columns share at most one row, against a random one.

    At the degrees where there is one by Latin squares (m = d q, n <= q^2); same seeds for both.
    """

    group: ClassVar[str] = "certified-mask"
    figures: ClassVar[tuple[str, ...]] = ("certified_mask",)

    @staticmethod
    def members(suite: SAESuite) -> list[Member]:
        from sae_bridge.suites import architecture, certified, has_euler_mask

        base, m = suite.setting.recipe, suite.store.m
        degrees = [d for d in suite.setting.sparse_degrees if has_euler_mask(m, base.n, d)]
        pairs = [variant for d in degrees for variant in (architecture(base, d), certified(base, d))]
        return list(product(pairs, suite.setting.seeds))


@dataclass(frozen=True)
class Controls(Compares):
    """Claim: the sparse, diverse support does it, not the count of values. Controls at one count."""

    group: ClassVar[str] = "controls"
    figures: ClassVar[tuple[str, ...]] = ("controls",)

    @staticmethod
    def members(suite: SAESuite) -> list[Member]:
        from sae_bridge.suites import controls

        found = controls(suite.setting.recipe, suite.store.m, suite.setting.d)
        return list(product(found, suite.setting.control_seeds))


@dataclass(frozen=True)
class Sparsity(Compares):
    """The paper's curves over k, from relative error to firing rates. Also CE, dead features and geometry. One seed."""

    group: ClassVar[str] = "sparsity"
    figures: ClassVar[tuple[str, ...]] = ("sparsity",)

    @staticmethod
    def members(suite: SAESuite) -> list[Member]:
        from sae_bridge.suites import sparsities

        setting = suite.setting
        ks = tuple(sorted({*setting.ks, setting.recipe.k}))
        return list(product(sparsities(setting.recipe, setting.sparsity_degrees, ks), setting.control_seeds[:1]))


@dataclass(frozen=True)
class SmallDense(Compares):
    """Beyond the paper: does a small dense SAE of as many values do better? And at which storage in bytes."""

    group: ClassVar[str] = "small-dense"
    figures: ClassVar[tuple[str, ...]] = ("small_dense",)

    @staticmethod
    def members(suite: SAESuite) -> list[Member]:
        from sae_bridge.suites import architecture, small_dense

        base, m = suite.setting.recipe, suite.store.m
        found = [v for d in suite.setting.sparse_degrees for v in (architecture(base, d), small_dense(base, m, d))]
        return list(product([architecture(base, None), *found], suite.setting.control_seeds))


@dataclass(frozen=True)
class BetterTraining(Compares):
    """Beyond the paper: does better training close the gap at fixed storage?

    More steps, AuxK, an encoder of its own, BatchTopK, several pursuit steps, OMP in the loop.
    """

    group: ClassVar[str] = "better-training"
    figures: ClassVar[tuple[str, ...]] = ("better_training",)

    @staticmethod
    def members(suite: SAESuite) -> list[Member]:
        from sae_bridge.suites import architecture, better_training

        found = [*better_training(suite.setting.recipe, suite.setting.d), architecture(suite.setting.recipe, None)]
        return list(product(found, suite.setting.control_seeds))


@dataclass(frozen=True)
class PursuitRecipe(Compares):
    """Beyond the paper: how is an SAE trained whose codes are OMP's? One choice of the recipe changed at a time.

    Learning rate, warm-up, decay, clipping, AuxK, and how learned supports move. One seed.
    """

    group: ClassVar[str] = "pursuit-recipe"
    figures: ClassVar[tuple[str, ...]] = ("pursuit_recipe",)

    @staticmethod
    def members(suite: SAESuite) -> list[Member]:
        from sae_bridge.suites import pursuit_recipe

        found = pursuit_recipe(suite.setting.recipe, suite.setting.d)
        return list(product(found, suite.setting.control_seeds[:1]))
