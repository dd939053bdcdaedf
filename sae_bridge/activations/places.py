"""The stores of one harvest of several places, by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from expander_theory.base import InvalidFile, require
from sae_bridge.activations.description import NAME, place_name, places_below, require_together
from sae_bridge.activations.store import ActivationStore


def holds_places(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has stores of several places (or of one, by name) in it, finished or not."""
    return not (Path(folder) / NAME).exists() and bool(places_below(Path(folder)))


def stores_in(folder: str | os.PathLike[str], names: Sequence[str] | None = None) -> dict[str, ActivationStore]:
    """The stores of a harvest by the name of their place, by layer and hook; a plain store is {".": store}.

    Their contexts, tokens and documents are the same; which positions count may differ by the limit of the norm.

    Args:
        folder: that :func:`sae_bridge.activations.harvest` or :func:`sae_bridge.activations.harvest_places` wrote.
        names: only these, in this order; default: all.

    Raises:
        InvalidArgument: a name that is not there.
        InvalidFile: no activations, an unfinished harvest of a place, or stores of different harvests.
    """
    folder = Path(folder)
    plain = (folder / NAME).exists() or not places_below(folder)
    there = ["."] if plain else places_below(folder)
    for name in names or ():
        require(name in there, "place", name, f"must be one of those of {folder}: {', '.join(there)}")
    stores = {name: ActivationStore(folder / name) for name in names or there}
    if plain:
        return stores
    require_together(folder, next(iter(stores.values())).description)
    for name, store in stores.items():
        held = place_name(store.description["layer"], store.description["hook"])
        if held != name:
            raise InvalidFile(store.folder, f"holds {held}: it was given another name than its place's")
    return stores
