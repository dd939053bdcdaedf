"""Residual-stream activations on disk: harvested shard by shard, resumed, checked on reading.

A store is a folder with ``activations.json`` (:mod:`sae_bridge.description`: model, layer, hook, text, tokenizer,
which positions count) and safetensors shards (:mod:`sae_bridge.shards`). :mod:`sae_bridge.stream` reads it in
shuffled batches, or does without a store.
"""

from sae_bridge.description import SPLITS
from sae_bridge.harvest import Harvest, estimate, harvest
from sae_bridge.store import ActivationStore
from sae_bridge.token_policy import TokenPolicy

__all__ = ["SPLITS", "ActivationStore", "Harvest", "TokenPolicy", "estimate", "harvest"]
