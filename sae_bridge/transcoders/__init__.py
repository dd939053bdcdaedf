"""Transcoders: from what a part of a model reads to what it gives, through sparse codes."""

from sae_bridge.transcoders.cross_layer import CrossLayerTranscoder, cross_layer_mask
from sae_bridge.transcoders.evaluation import TranscoderRow, transcoder_rows
from sae_bridge.transcoders.exporting import export_saelens_transcoder, export_sparsify_transcoder
from sae_bridge.transcoders.foreign import (
    AnyTranscoder,
    ImportedTranscoder,
    import_saelens_transcoder,
    import_sparsify_transcoder,
    load_any_transcoder,
)
from sae_bridge.transcoders.loading import load_transcoder
from sae_bridge.transcoders.nulls import Map, layered_nulls, refitted, side_by_side, transcoder_map, transcoder_nulls
from sae_bridge.transcoders.paired import PairedStore, layers_store, paired_store
from sae_bridge.transcoders.recipe import TranscoderTraining, train_transcoders
from sae_bridge.transcoders.storage import Storage, cross_layer_storage, transcoder_storage
from sae_bridge.transcoders.transcoder import (
    BlockTranscoder,
    DenseTranscoder,
    ExpanderTranscoder,
    Transcoder,
    transcoder,
)

__all__ = [
    "AnyTranscoder",
    "BlockTranscoder",
    "CrossLayerTranscoder",
    "DenseTranscoder",
    "ExpanderTranscoder",
    "ImportedTranscoder",
    "Map",
    "PairedStore",
    "Storage",
    "Transcoder",
    "TranscoderRow",
    "TranscoderTraining",
    "cross_layer_mask",
    "cross_layer_storage",
    "export_saelens_transcoder",
    "export_sparsify_transcoder",
    "import_saelens_transcoder",
    "import_sparsify_transcoder",
    "layered_nulls",
    "layers_store",
    "load_any_transcoder",
    "load_transcoder",
    "paired_store",
    "refitted",
    "side_by_side",
    "train_transcoders",
    "transcoder",
    "transcoder_map",
    "transcoder_nulls",
    "transcoder_rows",
    "transcoder_storage",
]
