"""Activations of language models: harvested, described, stored, read in any order."""

from sae_bridge.activations._forward import Place
from sae_bridge.activations.description import SPLITS, place_name
from sae_bridge.activations.harvest import Harvest, estimate, harvest, harvest_places
from sae_bridge.activations.places import holds_places, stores_in
from sae_bridge.activations.rotated import RotatedStore
from sae_bridge.activations.store import ActivationStore
from sae_bridge.activations.stream import ActivationStream, LiveStream, StoredStream
from sae_bridge.activations.text import TextSource
from sae_bridge.activations.token_policy import TokenPolicy

__all__ = [
    "SPLITS",
    "ActivationStore",
    "ActivationStream",
    "Harvest",
    "LiveStream",
    "Place",
    "RotatedStore",
    "StoredStream",
    "TextSource",
    "TokenPolicy",
    "estimate",
    "harvest",
    "harvest_places",
    "holds_places",
    "place_name",
    "stores_in",
]
