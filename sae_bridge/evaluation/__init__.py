"""What a trained SAE is worth: reconstruction, fidelity of the model, features, recovery, intervals."""

from sae_bridge.evaluation.evaluate import evaluation_row, evaluation_rows, replacement, require_trained_on
from sae_bridge.evaluation.features import collisions, firing_summary, novelty
from sae_bridge.evaluation.inference import amortisation_gap
from sae_bridge.evaluation.intervals import Bootstrap
from sae_bridge.evaluation.losses import Losses, Positions, conventions
from sae_bridge.evaluation.model_fidelity import measure_losses
from sae_bridge.evaluation.reconstruction import DENSE_SHARE, CodeFunction, mean_activation, reconstruction
from sae_bridge.evaluation.recovery import geometry, paper_ratios, support_recovery, untrained

__all__ = [
    "DENSE_SHARE",
    "Bootstrap",
    "CodeFunction",
    "Losses",
    "Positions",
    "amortisation_gap",
    "collisions",
    "conventions",
    "evaluation_row",
    "evaluation_rows",
    "firing_summary",
    "geometry",
    "mean_activation",
    "measure_losses",
    "novelty",
    "paper_ratios",
    "reconstruction",
    "replacement",
    "require_trained_on",
    "support_recovery",
    "untrained",
]
