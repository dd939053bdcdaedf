"""Sparse autoencoders with expander, dense or block decoders, their files, storage, pruned and null ones."""

from sae_bridge.sae import ops
from sae_bridge.sae._initial import initial_weight
from sae_bridge.sae.autoencoder import SparseAutoencoder, kept_above, storable
from sae_bridge.sae.block_sae import BlockSAE
from sae_bridge.sae.loading import load_sae, pack_sae
from sae_bridge.sae.nulls import Columns, coordinate_null, mean_null, principal_null, untrained_null
from sae_bridge.sae.options import (
    BATCH_TOPK_SHARE,
    GROUP_SHARES,
    PURSUITS,
    THRESHOLDED,
    Activation,
    Encoder,
    Encoding,
    Options,
    Selection,
    group_sizes,
    require_nested,
    resolved_selection,
)
from sae_bridge.sae.pruning import pruned
from sae_bridge.sae.pursuit import Pursuit
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE
from sae_bridge.sae.sae_files import CONFIGURATION, KIND, VERSION, WEIGHTS, is_sae_folder, write_configuration
from sae_bridge.sae.storage import packed_storage, storage
from sae_bridge.sae.thresholded import Thresholded, joined_codes

__all__ = [
    "BATCH_TOPK_SHARE",
    "CONFIGURATION",
    "GROUP_SHARES",
    "KIND",
    "PURSUITS",
    "THRESHOLDED",
    "VERSION",
    "WEIGHTS",
    "Activation",
    "BlockSAE",
    "Columns",
    "Encoder",
    "Encoding",
    "ExpanderSAE",
    "Options",
    "Pursuit",
    "Selection",
    "SparseAutoencoder",
    "Thresholded",
    "TopKSAE",
    "coordinate_null",
    "group_sizes",
    "initial_weight",
    "is_sae_folder",
    "joined_codes",
    "kept_above",
    "load_sae",
    "mean_null",
    "ops",
    "pack_sae",
    "packed_storage",
    "principal_null",
    "pruned",
    "require_nested",
    "resolved_selection",
    "storable",
    "storage",
    "untrained_null",
    "write_configuration",
]
