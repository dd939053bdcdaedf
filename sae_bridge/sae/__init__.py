"""Sparse autoencoders with expander, dense or block decoders, their files, storage, pruned and null ones."""

from sae_bridge.sae import ops
from sae_bridge.sae.block_sae import BlockSAE
from sae_bridge.sae.loading import load_sae
from sae_bridge.sae.nulls import Columns, coordinate_null, mean_null, principal_null, untrained_null
from sae_bridge.sae.pruning import pruned
from sae_bridge.sae.pursuit import Pursuit
from sae_bridge.sae.sae import (
    BATCH_TOPK_SHARE,
    PURSUITS,
    Activation,
    Encoder,
    Encoding,
    ExpanderSAE,
    Selection,
    SparseAutoencoder,
    TopKSAE,
    resolved_selection,
    storable,
)
from sae_bridge.sae.sae_files import CONFIGURATION, KIND, WEIGHTS, is_sae_folder
from sae_bridge.sae.storage import storage

__all__ = [
    "BATCH_TOPK_SHARE",
    "CONFIGURATION",
    "KIND",
    "PURSUITS",
    "WEIGHTS",
    "Activation",
    "BlockSAE",
    "Columns",
    "Encoder",
    "Encoding",
    "ExpanderSAE",
    "Pursuit",
    "Selection",
    "SparseAutoencoder",
    "TopKSAE",
    "coordinate_null",
    "is_sae_folder",
    "load_sae",
    "mean_null",
    "ops",
    "principal_null",
    "pruned",
    "resolved_selection",
    "storable",
    "storage",
    "untrained_null",
]
