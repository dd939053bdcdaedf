"""Activations of language models: harvested, described, stored, read in any order."""

from sae_bridge.activations.description import SPLITS
from sae_bridge.activations.harvest import Harvest, estimate, harvest
from sae_bridge.activations.rotated import RotatedStore
from sae_bridge.activations.store import ActivationStore
from sae_bridge.activations.stream import ActivationStream, StoredStream
from sae_bridge.activations.text import TextSource
from sae_bridge.activations.token_policy import TokenPolicy

__all__ = [
    "SPLITS",
    "ActivationStore",
    "ActivationStream",
    "Harvest",
    "RotatedStore",
    "StoredStream",
    "TextSource",
    "TokenPolicy",
    "estimate",
    "harvest",
]
