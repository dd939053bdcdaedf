"""Training of SAEs side by side on one stream of activations."""

from sae_bridge.training.parallel import World, world
from sae_bridge.training.rates import best_rates
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import DECODER, METRICS, train
from sae_bridge.training.trainee import Trainee

__all__ = [
    "DECODER",
    "METRICS",
    "Trainee",
    "Training",
    "World",
    "best_rates",
    "train",
    "world",
]
