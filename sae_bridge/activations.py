"""Residual-stream activations on disk: harvested shard by shard, resumed, checked on reading.

A store is a folder with ``activations.json`` (what was harvested, and from what) and safetensors
shards, each with ``tokens`` (contexts, context) int32, ``documents`` (contexts,) int32 (the document
that each came from) and ``activations`` (contexts, context - 1, m) float32: the first token of every
context is left out, because its norm dwarfs the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.errors import InvalidFile, require
from expander_theory.files import atomic_write, read_arrays, stored_sha256, write_arrays
from expander_theory.progress import progress_bar
from sae_bridge.language_models import Hook, LanguageModel
from sae_bridge.text import Contexts, TextSource

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
    longest = model.longest_context
    allowed = f"must be at most {longest}, the positions of {model.name}"
    require(longest is None or what.context <= longest, "context", what.context, allowed)
    wanted = {"train": (what.train_contexts, 8), "held_out": (what.held_out_contexts, 2)}
    contexts = {
        split: text.contexts(
            model.tokenizer, context=what.context, count=count, held_out=split == "held_out", per_document=most
        )
        for split, (count, most) in wanted.items()
    }
    largest = max(int(found.tokens.max()) for found in contexts.values())
    require(largest < model.vocabulary, "token id", largest, f"is not below the model's vocabulary {model.vocabulary}")
    description = {
        "kind": KIND,
        "version": VERSION,
        "model": model.name,
        "model_fingerprint": model.fingerprint,
        "layer": layer,
        "hook": what.hook,
        "m": model.m,
        "context": what.context,
        "text": list(text.names),
        "text_sha256": text.sha256,
        "contexts": {split: len(contexts[split].tokens) for split in SPLITS},
        "documents": {split: len(set(contexts[split].documents.tolist())) for split in SPLITS},
        "tokens_sha256": {split: _sha256(contexts[split].tokens) for split in SPLITS},
        "left_out": "the first token of each context; no special tokens are added",
    }
    _claim(folder, description)
    with FileLock(folder / ".harvest.lock", timeout=0):
        _run(model, what, folder, layer, contexts, progress)
    return ActivationStore(folder)


def _run(
    model: LanguageModel, what: Harvest, folder: Path, layer: int, contexts: dict[str, Contexts], progress: bool
) -> None:
    """Write every shard that is not there yet."""
    parts = [(s, i, part) for s in SPLITS for i in range(_shards(len(contexts[s].tokens))) for part in [_part(i)]]
    todo = [(s, i, part) for s, i, part in parts if not _shard_path(folder, s, i).is_file()]
    total = sum(contexts[s].tokens[part].size for s, _, part in todo)
    if total and progress:
        print(estimate(model, what), file=sys.stderr, flush=True)
    with progress_bar(total=total, unit="token", unit_scale=True, desc="harvest", show=progress) as bar:
        for split, index, part in todo:
            tokens = contexts[split].tokens[part]
            found = []
            for first in range(0, len(tokens), what.batch):
                batch = torch.from_numpy(tokens[first : first + what.batch]).long()
                found.append(model.activations(batch, layer, what.hook)[:, 1:].float().cpu())
                bar.update(batch.numel())
            arrays = {
                "tokens": tokens,
                "documents": contexts[split].documents[part],
                "activations": torch.cat(found).numpy(),
            }
            write_arrays(_shard_path(folder, split, index), KIND, VERSION, {"split": split, "index": index}, arrays)


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
        self._rows: dict[str, Tensor] = {}
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
        """Hash of the description (without spellings of paths) and of every shard's content."""
        shards = [stored_sha256(_shard_path(self.folder, s, i)) for s in SPLITS for i in range(self._count(s))]
        return hashlib.sha256(json.dumps([_identity(self.description), shards], sort_keys=True).encode()).hexdigest()

    @cached_property
    def norm_limit(self) -> float:
        """Tokens of larger norm are outliers: :data:`OUTLIER_RATIO` medians of the first training shard."""
        norms = np.linalg.norm(self._shard("train", 0)["activations"], axis=-1)
        return OUTLIER_RATIO * float(np.median(norms))

    def rows(self, split: str) -> Tensor:
        """Activations (N, m) of a split, float32, without first tokens and outliers; kept in memory once read."""
        if split not in self._rows:
            limit, about = self.norm_limit, self.description
            rows = torch.empty(about["contexts"][split] * (about["context"] - 1), self.m)
            filled = 0
            for shard in self._shards(split):
                flat = torch.from_numpy(shard["activations"]).flatten(0, 1)
                kept = flat[flat.norm(dim=1) <= limit]
                rows[filled : filled + len(kept)] = kept
                filled += len(kept)
            self._rows[split] = rows[:filled]
        return self._rows[split]

    def tokens(self, split: str) -> Tensor:
        """Token ids (contexts, context) of a split, int64."""
        tokens = np.concatenate([shard["tokens"] for shard in self._shards(split)])
        if _sha256(tokens) != self.description["tokens_sha256"][split]:
            raise InvalidFile(self.folder, f"its {split} shards do not hold the tokens of activations.json")
        return torch.from_numpy(tokens).long()

    def documents(self, split: str) -> NDArray[np.int32]:
        """Number of the document that each context of a split came from, shape (contexts,)."""
        return np.concatenate([shard["documents"] for shard in self._shards(split)])

    def _shards(self, split: str) -> Iterator[dict[str, NDArray[Any]]]:
        for index in range(self._count(split)):
            yield self._shard(split, index)

    def _shard(self, split: str, index: int) -> dict[str, NDArray[Any]]:
        path = _shard_path(self.folder, split, index)
        fields, arrays = read_arrays(path, KIND, VERSION)
        if fields != {"split": split, "index": index}:
            raise InvalidFile(path, f"holds shard {fields.get('index')} of split {fields.get('split')!r}")
        return arrays

    def _count(self, split: str) -> int:
        return _shards(self.description["contexts"][split])


def _identity(description: dict[str, Any]) -> dict[str, Any]:
    """What makes a harvest this one: fingerprints and hashes, not the names of files."""
    return {key: value for key, value in description.items() if key not in ("model", "text")}


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Write the description, or check that the one there is the same."""
    path = folder / "activations.json"
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise InvalidFile(folder, "is not empty and holds no activations; choose another folder")
        atomic_write(path, json.dumps(description, indent=2).encode() + b"\n")
        return
    stored = _description(folder)
    if _identity(stored) != _identity(description):
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
    if not isinstance(version, int) or version > VERSION:
        raise InvalidFile(path, f"format version {version} is newer than {VERSION}: upgrade")
    missing = [
        key for key in ("m", "context", "contexts", "tokens_sha256", "model_fingerprint") if key not in description
    ]
    if missing:
        raise InvalidFile(path, f"damaged: it lacks {', '.join(missing)}")
    return description


def _shards(contexts: int) -> int:
    return -(-contexts // _CONTEXTS_PER_SHARD)


def _part(index: int) -> slice:
    return slice(index * _CONTEXTS_PER_SHARD, (index + 1) * _CONTEXTS_PER_SHARD)


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
        f"harvest of {tokens:,} tokens: about {disk:.2f} GiB on disk, the same again in memory when an SAE trains "
        f"on it, about {max(1, round(seconds / 60))} min"
    )
