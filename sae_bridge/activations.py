"""Residual-stream activations on disk: harvested shard by shard, resumed, checked on reading.

A store is a folder with ``activations.json`` (what was harvested, and from what) and safetensors
shards, each with ``tokens`` (contexts, context) int32 and ``activations`` (contexts, context - 1, m)
float32: the first token of every context is left out, because its norm dwarfs the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.errors import InvalidFile, require
from expander_theory.files import atomic_write, read_arrays, write_arrays
from expander_theory.progress import progress_bar
from sae_bridge.language_models import Hook, LanguageModel
from sae_bridge.text import TextSource

KIND, VERSION = "expander-activations", 1
SPLITS = ("train", "held_out")
OUTLIER_RATIO = 6.0
"""Tokens whose norm exceeds this many medians are left out of training and metrics (attention sinks)."""

_CONTEXTS_PER_SHARD = 64


@dataclass(frozen=True)
class Harvest:
    """What to harvest.

    Attributes:
        layer: decoder block, or None for the one at half depth.
        hook: "resid_pre" or "resid_post".
        context: tokens per context.
        train_contexts, held_out_contexts: how many of each.
        batch: contexts per forward pass (does not change the result beyond rounding).
    """

    layer: int | None = None
    hook: Hook = "resid_post"
    context: int = 128
    train_contexts: int = 800
    held_out_contexts: int = 64
    batch: int = 8

    def __post_init__(self) -> None:
        for name in ("train_contexts", "held_out_contexts", "batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(self.context >= 3, "context", self.context, "must be at least 3 tokens")


def harvest(
    model: LanguageModel, text: TextSource, what: Harvest, folder: str | os.PathLike[str], *, progress: bool = True
) -> ActivationStore:
    """Run the model over the text and store the activations; shards that are there already are kept.

    Raises:
        InvalidArgument: no such layer or hook, or too little text.
        InvalidFile: the folder holds another harvest.
        OSError: full or read-only disk; finished shards stay.
    """
    folder = Path(folder)
    layer = len(model.layers) // 2 - 1 if what.layer is None else what.layer
    model.block(layer)
    tokens = {
        split: text.contexts(model.tokenizer, context=what.context, count=count, held_out=split == "held_out")
        for split, count in zip(SPLITS, (what.train_contexts, what.held_out_contexts), strict=True)
    }
    description = {
        "kind": KIND,
        "version": VERSION,
        "model": model.name,
        "model_fingerprint": fingerprint(model),
        "layer": layer,
        "hook": what.hook,
        "m": model.m,
        "context": what.context,
        "text": list(text.names),
        "text_sha256": text.sha256,
        "contexts": {split: len(tokens[split]) for split in SPLITS},
        "tokens_sha256": {split: hashlib.sha256(tokens[split].tobytes()).hexdigest() for split in SPLITS},
        "left_out": "the first token of each context; no special tokens are added",
    }
    _claim(folder, description)
    todo = [(s, i) for s in SPLITS for i in range(_shards(len(tokens[s]))) if not _shard_path(folder, s, i).is_file()]
    total = sum(len(_part(tokens[s], i)) for s, i in todo) * what.context
    with progress_bar(total=total, unit="token", unit_scale=True, desc="harvest", show=progress) as bar:
        for split, index in todo:
            part = _part(tokens[split], index)
            found = []
            for first in range(0, len(part), what.batch):
                batch = torch.from_numpy(part[first : first + what.batch]).long()
                found.append(model.activations(batch, layer, what.hook)[:, 1:].float().cpu())
                bar.update(batch.numel())
            arrays = {"tokens": part, "activations": torch.cat(found).numpy()}
            write_arrays(_shard_path(folder, split, index), KIND, VERSION, {"split": split, "index": index}, arrays)
    return ActivationStore(folder)


class ActivationStore:
    """A harvested folder, opened for reading.

    Args:
        folder: where :func:`harvest` wrote.

    Raises:
        InvalidFile: no store, an unfinished one, or a damaged shard (on reading it).
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.description = _description(self.folder)
        missing = [
            path.name
            for split in SPLITS
            for index in range(self._count(split))
            if not (path := _shard_path(self.folder, split, index)).is_file()
        ]
        if missing:
            raise InvalidFile(self.folder, f"the harvest is not finished: {len(missing)} shards missing; run it again")

    @property
    def m(self) -> int:
        return self.description["m"]

    @cached_property
    def sha256(self) -> str:
        """Hash of the description: names the model, layer, text and tokens."""
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()

    @cached_property
    def norm_limit(self) -> float:
        """Tokens of larger norm are outliers: :data:`OUTLIER_RATIO` medians of the first training shard."""
        norms = np.linalg.norm(self._shard("train", 0)["activations"], axis=-1)
        return OUTLIER_RATIO * float(np.median(norms))

    def rows(self, split: str) -> Tensor:
        """Activations (N, m) of a split, float32, without first tokens and outliers."""
        kept = []
        for shard in self._shards(split):
            flat = torch.from_numpy(shard["activations"]).flatten(0, 1)
            kept.append(flat[flat.norm(dim=1) <= self.norm_limit])
        return torch.cat(kept)

    def tokens(self, split: str) -> Tensor:
        """Token ids (contexts, context) of a split, int64."""
        return torch.from_numpy(np.concatenate([shard["tokens"] for shard in self._shards(split)])).long()

    def _shards(self, split: str) -> Iterator[dict[str, NDArray[Any]]]:
        for index in range(self._count(split)):
            yield self._shard(split, index)

    def _shard(self, split: str, index: int) -> dict[str, NDArray[Any]]:
        return read_arrays(_shard_path(self.folder, split, index), KIND, VERSION)[1]

    def _count(self, split: str) -> int:
        return _shards(self.description["contexts"][split])


def fingerprint(model: LanguageModel) -> str:
    """Short hash of the model's parameters: names, shapes and the first values of each."""
    digest = hashlib.sha256()
    for name, parameter in model.model.named_parameters():
        head = parameter.detach().flatten()[:64].float().cpu().numpy().tobytes()
        digest.update(f"{name} {tuple(parameter.shape)} ".encode() + head)
    return digest.hexdigest()[:16]


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Write the description, or check that the one there is the same."""
    path = folder / "activations.json"
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise InvalidFile(folder, "is not empty and holds no activations; choose another folder")
        atomic_write(path, json.dumps(description, indent=2).encode() + b"\n")
        return
    stored = _description(folder)
    if stored != description:
        keys = sorted(k for k in {*stored, *description} if stored.get(k) != description.get(k))
        changes = "; ".join(f"{k} is {stored.get(k)!r} there and {description.get(k)!r} here" for k in keys)
        raise InvalidFile(folder, f"belongs to another harvest: {changes}; choose another folder")


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "activations.json"
    if not path.is_file():
        raise InvalidFile(folder, "holds no activations (activations.json is missing): run `expander sae harvest`")
    try:
        description = json.loads(path.read_text())
        kind, version = description["kind"], description["version"]
    except (ValueError, KeyError, TypeError):
        raise InvalidFile(path, "damaged") from None
    if kind != KIND:
        raise InvalidFile(path, f"holds {kind!r}, expected {KIND!r}")
    if version > VERSION:
        raise InvalidFile(path, f"format version {version} is newer than {VERSION}: upgrade")
    return description


def _shards(contexts: int) -> int:
    return -(-contexts // _CONTEXTS_PER_SHARD)


def _part(tokens: NDArray[np.int32], index: int) -> NDArray[np.int32]:
    return tokens[index * _CONTEXTS_PER_SHARD : (index + 1) * _CONTEXTS_PER_SHARD]


def _shard_path(folder: Path, split: str, index: int) -> Path:
    return folder / f"{split}-{index:05d}.safetensors"


def estimate(model: LanguageModel, what: Harvest) -> str:
    """Disk, memory and time of a harvest, in words; the time from one timed batch."""
    tokens = (what.train_contexts + what.held_out_contexts) * what.context
    disk = tokens * model.m * 4 / 2**30
    layer = len(model.layers) // 2 - 1 if what.layer is None else what.layer
    batch = torch.zeros(what.batch, what.context, dtype=torch.long)
    model.activations(batch, layer, what.hook)  # warm-up
    start = time.perf_counter()
    model.activations(batch, layer, what.hook)
    seconds = (time.perf_counter() - start) * tokens / batch.numel()
    return (
        f"harvest of {tokens:,} tokens: about {disk:.2f} GiB on disk (and of memory when an SAE trains on it), "
        f"about {max(1, round(seconds / 60))} min"
    )
