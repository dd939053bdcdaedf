"""One SAE from a folder of any kind that is known here: ours, SAELens's or sparsify's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sae_bridge.interop._folders import read_configuration
from sae_bridge.interop.imported import ImportedSAE
from sae_bridge.interop.saelens import import_saelens
from sae_bridge.interop.sparsify import WEIGHTS, import_sparsify
from sae_bridge.sae import KIND, SparseAutoencoder, load_sae


def load_any(
    folder: str | os.PathLike[str], *, k: int | None = None
) -> tuple[SparseAutoencoder | ImportedSAE, dict[str, Any]]:
    """An SAE, ready for evaluation, and its training fields as far as known.

    Args:
        k: for imported SAEs with thresholds, how many features other methods of inference get.

    Raises:
        InvalidFile: no SAE, a damaged one, or one that means something that cannot be read.
        InvalidArgument: k out of range.
    """
    folder = Path(folder)
    if (folder / WEIGHTS).is_file():
        return import_sparsify(folder)
    about = read_configuration(folder)
    return load_sae(folder) if about.get("kind") == KIND else import_saelens(folder, k=k)
