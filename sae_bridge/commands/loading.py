"""What the commands that take trained SAEs share."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expander_theory.base import InvalidFile, require
from sae_bridge.activations import ActivationStore, place_name
from sae_bridge.evaluation import require_trained_on
from sae_bridge.interop import ImportedSAE, load_any
from sae_bridge.models import checked_device
from sae_bridge.packing import is_packed
from sae_bridge.sae import CONFIGURATION, SparseAutoencoder
from sae_bridge.training import METRICS

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
    _require_different(folders)
    where, loaded = checked_device(device), {}
    for folder in folders:
        sae, fields = load_any(folder, k=k)
        require(sae.m == store.m, str(folder), f"m = {sae.m}", f"must have the activations' width {store.m}")
        require_trained_on(store, fields, folder, other_activations=other_activations, other_place=other_place)
        loaded[str(folder)] = sae.to(where), fields
    return loaded


def load_by_place(
    folders: Sequence[Path],
    stores: Mapping[str, ActivationStore],
    device: str,
    *,
    other_activations: bool,
    other_place: bool,
    k: int | None = None,
) -> dict[str, dict[str, Loaded]]:
    """SAEs by the place of a harvest that their fields name, then as :func:`load_saes`; only places that have some.

    Args:
        stores: by name of their place; a single one takes all SAEs.
        other_activations, other_place, k: as for :func:`load_saes`; with several stores every SAE has its place.

    Raises:
        InvalidArgument: as :func:`load_saes`; ``other_place`` with several stores.
        InvalidFile: as :func:`load_saes`; an SAE of a place that was not harvested, or that does not say which.
    """
    how: dict[str, Any] = {"other_activations": other_activations, "k": k}
    if "." in stores:
        return {".": load_saes(folders, stores["."], device, other_place=other_place, **how)}
    names = ", ".join(stores)
    require(not other_place, "other-place", True, f"needs the folder of one place's activations, of {names}")
    _require_different(folders)
    by_place: dict[str, list[Path]] = {}
    for folder in folders:
        _, fields = load_any(folder, k=k)
        if not {"layer", "hook"} <= fields.keys():
            raise InvalidFile(folder, f"does not say its layer and hook: name the folder of its place, of {names}")
        place = place_name(fields["layer"], fields["hook"])
        if place not in stores:
            raise InvalidFile(folder, f"is of {place}, and the activations are of {names}")
        by_place.setdefault(place, []).append(folder)
    return {
        place: load_saes(by_place[place], store, device, other_place=False, **how)
        for place, store in stores.items()
        if place in by_place
    }


def sae_folders(paths: Sequence[Path]) -> list[Path]:
    """The paths; instead of a folder that holds no SAE itself, the SAEs below it: folders and packed files, by name.

    Runs below it that are not finished are left out, and named on standard error.
    """
    found: list[Path] = []
    for path in paths:
        found += (path.is_dir() and not _holds_run(path) and _below(path)) or [path]
    return found


def _holds_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIGURATION, METRICS))


def _below(folder: Path) -> list[Path]:
    saes = {path.parent for path in folder.rglob(CONFIGURATION)}
    for unfinished in sorted({path.parent for path in folder.rglob(METRICS)} - saes):
        print(f"{unfinished}: left out, its training is not finished", file=sys.stderr)
    packed = {path for path in folder.rglob("*.safetensors") if path.parent not in saes and is_packed(path)}
    return sorted(saes | packed, key=_numbered)


def _numbered(path: Path) -> list[tuple[int, str]]:
    """For an order in which layer4 is before layer14."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _require_different(folders: Sequence[Path]) -> None:
    require(len(folders) > 0, "saes", "none", "name at least one folder of `expander sae train`")
    names = [str(folder) for folder in folders]
    require(len(set(names)) == len(names), "saes", names, "must be different folders")
