"""Features split over the processes of torchrun, so that none holds all of an SAE."""

from sae_bridge.training.split.checkpoints import require_no_parts
from sae_bridge.training.split.cost import SplitCost, split_cost
from sae_bridge.training.split.exchange import Exchange
from sae_bridge.training.split.refusals import require_splittable
from sae_bridge.training.split.shard import FeatureShard, Part

__all__ = [
    "Exchange",
    "FeatureShard",
    "Part",
    "SplitCost",
    "require_no_parts",
    "require_splittable",
    "split_cost",
]
