"""Sparse autoencoders with expander or dense decoders, their files, storage, pruned and null ones."""

from sae_bridge.sae import ops
from sae_bridge.sae.null import coordinate_null
from sae_bridge.sae.pruning import pruned
from sae_bridge.sae.sae import (
    BATCH_TOPK_SHARE,
    Activation,
    Encoder,
    ExpanderSAE,
    Selection,
    SparseAutoencoder,
    TopKSAE,
    load_sae,
    storable,
)
from sae_bridge.sae.sae_files import CONFIGURATION, KIND, WEIGHTS, is_sae_folder
from sae_bridge.sae.storage import storage

__all__ = [
    "BATCH_TOPK_SHARE",
    "CONFIGURATION",
    "KIND",
    "WEIGHTS",
    "Activation",
    "Encoder",
    "ExpanderSAE",
    "Selection",
    "SparseAutoencoder",
    "TopKSAE",
    "coordinate_null",
    "is_sae_folder",
    "load_sae",
    "ops",
    "pruned",
    "storable",
    "storage",
]
