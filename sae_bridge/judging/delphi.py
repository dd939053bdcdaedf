"""Firings as delphi caches them, so that its scorers and explainers can read an SAE of ours.

One folder for the module: ``START_END.safetensors`` (END included) for each part of the features, with ``locations``
(context, position, feature - START), ``activations`` (float16) and ``tokens``, and ``config.json``. The format of
eai-delphi 0.1; codes with signs are written by their size, because delphi knows no others.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from expander_theory.base import InvalidFile, require, require_int
from expander_theory.results import atomic_write
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import AnySAE
from sae_bridge.features import pieces

_LEAST = 1e-5
"""delphi's own limit of what it keeps."""


def export_delphi(
    sae: AnySAE,
    store: ActivationStore,
    folder: Path,
    *,
    split: str = "train",
    contexts: int | None = None,
    parts: int = 5,
    progress: bool = True,
) -> Path:
    """Write the firings of an SAE as a cache of delphi.

    Memory: the firings of all contexts, 14 bytes each.

    Args:
        sae: in evaluation mode.
        store: of its activations.
        folder: the cache; the module's folder in it is named after layer and hook, and is returned.
        split, contexts: whose text, and how much of it.
        parts: files that the features are cut into.

    Raises:
        InvalidArgument: parts outside 1..n.
        InvalidFile: the module's folder is not empty.
    """
    require(1 <= require_int("parts", parts) <= sae.n, "parts", parts, f"must be between 1 and n = {sae.n}")
    about = store.description
    module = folder / f"layers.{about['layer']}.{about['hook']}"
    if module.exists() and any(module.iterdir()):
        raise InvalidFile(module, "is not empty; choose another folder")
    module.mkdir(parents=True, exist_ok=True)
    tokens = store.tokens(split)
    tokens = tokens if contexts is None else tokens[:contexts]
    at, acts = _firings(sae, store, split, len(tokens), progress)
    ends = np.linspace(0, sae.n, parts + 1).astype(np.int64)
    for start, end in pairwise(ends):
        own = (at[:, 2] >= start) & (at[:, 2] < end)
        arrays = {
            "locations": torch.from_numpy(_smallest(at[own] - np.array([0, 0, start]))),
            "activations": torch.from_numpy(acts[own].astype(np.float16)),
            "tokens": tokens.contiguous(),
        }
        save_file(arrays, module / f"{start}_{end - 1}.safetensors")
    config: dict[str, Any] = {
        "model_name": about["model"],
        "dataset_repo": "",
        "dataset_split": split,
        "ctx_len": tokens.shape[1],
        "n_tokens": tokens.numel(),
        "n_splits": parts,
    }
    atomic_write(module / "config.json", json.dumps(config, indent=2).encode())
    return module


def _firings(
    sae: AnySAE, store: ActivationStore, split: str, contexts: int, progress: bool
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places (firings, 3), in the order of the text, and sizes."""
    places, sizes = [np.empty((0, 3), np.int64)], [np.empty(0, np.float32)]
    for piece in pieces(sae, store, split, contexts, label="delphi: firings" if progress else ""):
        context = piece.tokens.shape[1]
        kept = np.abs(piece.act) > _LEAST
        token = piece.token[kept]
        row, place = piece.contexts[0] + token // context, token % context
        places.append(np.stack([row, place, piece.feature[kept]], axis=1))
        sizes.append(np.abs(piece.act[kept]))
    return np.concatenate(places), np.concatenate(sizes)


def _smallest(locations: NDArray[np.int64]) -> NDArray[Any]:
    """uint16 where contexts and features fit, else uint32; in C order, without which safetensors would mix them up."""
    fits = not len(locations) or locations[:, [0, 2]].max() < 1 << 16
    return np.ascontiguousarray(locations, dtype=np.uint16 if fits else np.uint32)
