"""One SAE from a folder of any kind that is known here: ours, SAELens's, sparsify's or dictionary_learning's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from expander_theory.base import require
from sae_bridge.hub import located
from sae_bridge.interop._folders import CONFIGURATION, read_configuration
from sae_bridge.interop.dictionary_learning import PICKLED, import_dictionary_learning
from sae_bridge.interop.imported import ImportedSAE
from sae_bridge.interop.saelens import import_saelens
from sae_bridge.interop.sparsify import WEIGHTS, import_sparsify
from sae_bridge.sae import KIND, SparseAutoencoder, load_sae


def load_any(
    folder: str | os.PathLike[str], *, k: int | None = None, scaling_factor: float | None = None
) -> tuple[SparseAutoencoder | ImportedSAE, dict[str, Any]]:
    """An SAE, ready for evaluation, and its training fields as far as known.

    Args:
        folder: of an SAE, a packed file, or a repository's name; see :func:`sae_bridge.sae.load_sae`.
        k: for imported SAEs with thresholds or a gate, how many features other methods of inference get.
        scaling_factor: of SAELens's, see :func:`sae_bridge.interop.import_saelens`.

    Raises:
        InvalidFile: no SAE, a damaged one, or one that means something that cannot be read.
        InvalidArgument: k or the scaling factor out of range, or a scaling factor for another library's SAE.
    """
    folder = located(folder)
    library = _library(folder)
    mine = scaling_factor is None or library == "saelens"
    require(mine, "scaling_factor", scaling_factor, f"must not be given: {folder} is no folder of SAELens")
    if library == "sparsify":
        return import_sparsify(folder)
    if library == "dictionary_learning":
        return import_dictionary_learning(folder, k=k)
    return load_sae(folder) if library is None else import_saelens(folder, k=k, scaling_factor=scaling_factor)


def _library(folder: Path) -> str | None:
    """Whose folder it is; None for ours, and for a packed file."""
    if folder.is_file():
        return None
    if (folder / WEIGHTS).is_file():
        return "sparsify"
    if (folder / PICKLED).is_file() and not (folder / CONFIGURATION).is_file():
        return "dictionary_learning"
    return None if read_configuration(folder).get("kind") == KIND else "saelens"
