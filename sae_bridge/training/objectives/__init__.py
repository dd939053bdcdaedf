"""What one step of training minimises, by the kind of SAE; AuxK and the KL divergence of a finetune come on top."""

from __future__ import annotations

from expander_theory.base import require
from sae_bridge.sae import THRESHOLDED, SparseAutoencoder
from sae_bridge.training.objectives._gated import GatedObjective
from sae_bridge.training.objectives._jumprelu import JumpReLUObjective
from sae_bridge.training.objectives._nested import NestedObjective, nested_reconstructions
from sae_bridge.training.objectives._reconstruction import Objective, Outcome
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training

__all__ = [
    "GatedObjective",
    "JumpReLUObjective",
    "NestedObjective",
    "Objective",
    "Outcome",
    "nested_reconstructions",
    "objective",
]


def objective(how: Training, sae: SparseAutoencoder, world: World) -> Objective:
    """The objective of a recipe and the SAE that it builds.

    Raises:
        InvalidArgument: a recipe that goes on from a saved SAE of another kind than it says, where it matters.
    """
    if how.finetuned is not None:
        return Objective(sae, world, how.finetuned.coded)
    if sae.activation in THRESHOLDED:
        require(
            how.revival != "resample", "revival", repr(how.revival), f"must be 'auxk' or 'none' for {sae.activation}"
        )
        return (JumpReLUObjective if sae.activation == "jumprelu" else GatedObjective)(how, sae, world)
    unused = how.sparsity_weight is None
    require(unused, "sparsity_weight", how.sparsity_weight, f"must be None for {sae.activation}, which has no penalty")
    return Objective(sae, world) if sae.groups is None else NestedObjective(sae, world)
