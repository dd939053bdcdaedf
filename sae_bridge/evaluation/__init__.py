"""What a trained SAE is worth: reconstruction, fidelity of the model, features, recovery, intervals."""

from sae_bridge.evaluation.collapse import collapse, effective_degrees, feature_energy, weighted_effective_degree
from sae_bridge.evaluation.cost import encode_microseconds
from sae_bridge.evaluation.evaluate import AnySAE, evaluation_row, evaluation_rows, replacement, require_trained_on
from sae_bridge.evaluation.features import collisions, cosines_to, firing_summary, novelty
from sae_bridge.evaluation.inference import amortisation_gap
from sae_bridge.evaluation.intervals import Bootstrap
from sae_bridge.evaluation.losses import Losses, Positions, conventions
from sae_bridge.evaluation.model_fidelity import measure_losses, require_harvested_from
from sae_bridge.evaluation.nulls import NULL_KINDS, Null, NullKind, Nulls, principal_directions
from sae_bridge.evaluation.packed import PackedMeasurement, PackedMeasurements, measured_packings
from sae_bridge.evaluation.reconstruction import DENSE_SHARE, CodeFunction, mean_activation, reconstruction
from sae_bridge.evaluation.recovery import geometry, paper_ratios, support_recovery, untrained
from sae_bridge.evaluation.sparsity import active_features

__all__ = [
    "DENSE_SHARE",
    "NULL_KINDS",
    "AnySAE",
    "Bootstrap",
    "CodeFunction",
    "Losses",
    "Null",
    "NullKind",
    "Nulls",
    "PackedMeasurement",
    "PackedMeasurements",
    "Positions",
    "active_features",
    "amortisation_gap",
    "collapse",
    "collisions",
    "conventions",
    "cosines_to",
    "effective_degrees",
    "encode_microseconds",
    "evaluation_row",
    "evaluation_rows",
    "feature_energy",
    "firing_summary",
    "geometry",
    "mean_activation",
    "measure_losses",
    "measured_packings",
    "novelty",
    "paper_ratios",
    "principal_directions",
    "reconstruction",
    "replacement",
    "require_harvested_from",
    "require_trained_on",
    "support_recovery",
    "untrained",
    "weighted_effective_degree",
]
