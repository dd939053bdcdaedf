"""Activations whose features are known, and what an SAE that is trained on them finds of these."""

from sae_bridge.synthetic._firing import Hierarchy, LowRank, RandomPairs
from sae_bridge.synthetic.matching import FOUND, Detection, Matching, absorbed, detection, match, pairwise_mcc, split
from sae_bridge.synthetic.planted import STRUCTURES, SYNTH_SAE_BENCH, Planted, PlantedFeatures
from sae_bridge.synthetic.planted_stream import PlantedStream
from sae_bridge.synthetic.truth import Sample, codes_of, truth_measures

__all__ = [
    "FOUND",
    "STRUCTURES",
    "SYNTH_SAE_BENCH",
    "Detection",
    "Hierarchy",
    "LowRank",
    "Matching",
    "Planted",
    "PlantedFeatures",
    "PlantedStream",
    "RandomPairs",
    "Sample",
    "absorbed",
    "codes_of",
    "detection",
    "match",
    "pairwise_mcc",
    "split",
    "truth_measures",
]
