"""Training of SAEs side by side on one stream of activations."""

from sae_bridge.training.finetune import finetune
from sae_bridge.training.finetuning import Finetuning
from sae_bridge.training.parallel import World, world
from sae_bridge.training.rates import best_rates
from sae_bridge.training.recipe import Training
from sae_bridge.training.split import FeatureShard
from sae_bridge.training.train import DECODER, METRICS, Diverged, train
from sae_bridge.training.training_run import TrainingRun

__all__ = [
    "DECODER",
    "METRICS",
    "Diverged",
    "FeatureShard",
    "Finetuning",
    "Training",
    "TrainingRun",
    "World",
    "best_rates",
    "finetune",
    "train",
    "world",
]
