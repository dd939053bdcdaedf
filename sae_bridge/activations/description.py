"""``activations.json``: what a store of activations was harvested from, and how; checked before anything is added."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, TypedDict

from expander_theory.base import InvalidFile
from expander_theory.results import Count, Hex, Integer, Positive, Size, atomic_write, canonical_json, read_json, typed

KIND, VERSION = "expander-activations", 2
SPLITS = ("train", "held_out")
NAME = "activations.json"

_SPELLINGS = ("model", "text", "tokenizer")
"""Names and paths, which say nothing about the content: fingerprints and hashes do."""
_OURS = (f".{NAME}.", ".harvest.lock")
"""What a harvest that was killed before it wrote its description may have left."""


class _Policy(TypedDict):
    bos_id: Integer | None
    drop_first: bool
    special_ids: list[Integer]
    outlier_ratio: Positive | None


class _Splits(TypedDict):
    train: Size
    held_out: Size


class _Hashes(TypedDict):
    train: Hex
    held_out: Hex


class Description(TypedDict):
    """What is read of ``activations.json``."""

    m: Size
    context: Size
    contexts_per_shard: Size
    layer: Count
    hook: Literal["resid_pre", "resid_post"]
    dtype: Literal["float32", "bfloat16"]
    model: str
    model_fingerprint: str
    policy: _Policy
    contexts: _Splits
    documents: _Splits
    tokens_sha256: _Hashes


def identity(description: dict[str, Any]) -> dict[str, Any]:
    """What makes a harvest this one: everything but the spelling of names and paths."""
    return {key: value for key, value in description.items() if key not in _SPELLINGS}


def harvest_id(description: dict[str, Any]) -> str:
    """Hash (hex) of a harvest's identity, which every one of its shards carries."""
    return hashlib.sha256(canonical_json(identity(description)).encode()).hexdigest()


def require_claimable(folder: Path, description: dict[str, Any]) -> None:
    """Raise :class:`InvalidFile` unless the folder is new, empty, or this very harvest's."""
    if not (folder / NAME).exists():
        if folder.exists() and any(not path.name.startswith(_OURS) for path in folder.iterdir()):
            raise InvalidFile(folder, "is not empty and holds no activations; choose another folder")
        return
    stored = read_description(folder)
    if identity(stored) != identity(description):
        there, here = _flat(identity(stored)), _flat(identity(description))
        keys = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
        changes = "; ".join(f"{k} is {there.get(k)!r} there and {here.get(k)!r} here" for k in keys)
        raise InvalidFile(folder, f"belongs to another harvest: {changes}; choose another folder")


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Write the description, unless one is there."""
    if not (folder / NAME).exists():
        atomic_write(folder / NAME, json.dumps(description, indent=2).encode() + b"\n")


def read_description(folder: Path) -> dict[str, Any]:
    """The description of a store.

    Raises:
        InvalidFile: none, a damaged one, or one of another format.
    """
    path = folder / NAME
    if not path.is_file():
        raise InvalidFile(folder, f"holds no activations ({NAME} is missing): run `expander sae harvest`")
    description: dict[str, Any] = read_json(path, dict[str, Any])
    kind, version = description.get("kind"), description.get("version")
    if kind != KIND:
        raise InvalidFile(path, f"holds {kind!r}, expected {KIND!r}")
    if not isinstance(version, int) or version > VERSION:
        raise InvalidFile(path, f"format version {version} is newer than {VERSION}: upgrade")
    if version < VERSION:
        old = f"format version {version} is older than {VERSION}, which this release reads"
        raise InvalidFile(path, f"{old}: harvest again into another folder")
    typed(path, description, Description)
    _require_shards(path, description)
    return description


def _require_shards(path: Path, description: dict[str, Any]) -> None:
    """The shards that it speaks of must not be far more than there are files: they are going to be listed."""
    shards = sum(-(-count // description["contexts_per_shard"]) for count in description["contexts"].values())
    files = sum(1 for _ in path.parent.iterdir())
    if shards > _MOST_MISSING + files:
        raise InvalidFile(path, f"damaged: it speaks of {shards} shards, and the folder holds {files} files")


_MOST_MISSING = 1_000_000  # 64 contexts each, or 64 MiB of activations: more than anyone harvests


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    """Nested fields as ``outer.inner``."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat
