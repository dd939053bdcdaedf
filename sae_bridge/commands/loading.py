"""What the commands that take trained SAEs share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expander_theory.base import require
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import require_trained_on
from sae_bridge.interop import ImportedSAE, load_any
from sae_bridge.models import checked_device
from sae_bridge.sae import SparseAutoencoder

Loaded = tuple[SparseAutoencoder | ImportedSAE, dict[str, Any]]


def load_saes(
    folders: Sequence[Path],
    store: ActivationStore,
    device: str,
    *,
    other_activations: bool,
    other_place: bool,
    k: int | None = None,
) -> dict[str, Loaded]:
    """SAEs by folder, ours or others', each with its training fields.

    Args:
        other_activations, other_place: see :func:`sae_bridge.evaluation.require_trained_on`.
        k: for imported SAEs with thresholds.

    Raises:
        InvalidArgument: no folder or one named twice, an SAE of another width, a device that is not there.
        InvalidFile: no SAE, or one trained on other activations or at another place.
    """
    require(len(folders) > 0, "saes", "none", "name at least one folder of `expander sae train`")
    names = [str(folder) for folder in folders]
    require(len(set(names)) == len(names), "saes", names, "must be different folders")
    where, loaded = checked_device(device), {}
    for folder in folders:
        sae, fields = load_any(folder, k=k)
        require(sae.m == store.m, str(folder), f"m = {sae.m}", f"must have the activations' width {store.m}")
        require_trained_on(store, fields, folder, other_activations=other_activations, other_place=other_place)
        loaded[str(folder)] = sae.to(where), fields
    return loaded
