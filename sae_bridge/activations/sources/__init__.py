"""Where documents come from: files, folders, data sets and the default text."""

from sae_bridge.activations.sources.documents import HELD_OUT_SHARE, Document, read_documents

__all__ = ["HELD_OUT_SHARE", "Document", "read_documents"]
