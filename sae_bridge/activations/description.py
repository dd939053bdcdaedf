"""``activations.json``: what a store of activations was harvested from, and how; checked before anything is added."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal, TypedDict

from expander_theory.base import InvalidFile
from expander_theory.results import Count, Hex, Integer, Positive, Size, atomic_write, canonical_json, read_json, typed
from sae_bridge.models import HOOKS, Hook

KIND, VERSION = "expander-activations", 2
SPLITS = ("train", "held_out")
NAME = "activations.json"

_SPELLINGS = ("model", "text", "tokenizer")
"""Names and paths, which say nothing about the content: fingerprints and hashes do."""
_OF_A_PLACE = ("layer", "hook", "m", "contexts_per_shard")
_PLACE = re.compile(r"layer(\d+)\.(\w+)")
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
    hook: Hook
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


def live_sha256(description: dict[str, Any]) -> str:
    """Hash (hex) of what training activations are made from, stored or not: model, place, tokens, policy, precision.

    It says as much as can be said of activations without computing them, and is that of a stream without a store.
    """
    about = {
        "kind": "live activations",
        **{key: description[key] for key in ("model_fingerprint", "layer", "hook", "dtype", "policy")},
        "tokens_sha256": description["tokens_sha256"]["train"],
    }
    return hashlib.sha256(canonical_json(about).encode()).hexdigest()


def place_name(layer: int, hook: str) -> str:
    """What the store of a place is called in a folder of several: "layer14.resid_post"."""
    return f"layer{layer}.{hook}"


def places_below(folder: Path) -> list[str]:
    """Names of the stores of several places in a folder, finished or not, by layer and hook; none of a plain store."""
    found = []
    for path in folder.glob(f"layer*.*/{NAME}"):
        match = _PLACE.fullmatch(path.parent.name)
        if match and match[2] in HOOKS:
            found.append((int(match[1]), HOOKS.index(match[2]), path.parent.name))
    return [name for *_, name in sorted(found)]


def shared(description: dict[str, Any]) -> dict[str, Any]:
    """What the stores of one harvest of several places have in common of their identity."""
    return {key: value for key, value in identity(description).items() if key not in _OF_A_PLACE}


def require_together(folder: Path, description: dict[str, Any]) -> None:
    """Raise :class:`InvalidFile` unless the stores in a folder are of the same text, model and policy."""
    if (folder / NAME).exists():
        about = read_description(folder)
        held = f"holds the activations of one place ({about['hook']} of layer {about['layer']})"
        raise InvalidFile(folder, f"{held}; choose another folder for several")
    names = places_below(folder)
    for name in names:
        stored = read_description(folder / name)
        if shared(stored) != shared(description):
            problem = f"belongs to another harvest: {_changes(shared(stored), shared(description))}"
            raise InvalidFile(folder / name, f"{problem}; choose another folder")
    if not names and folder.exists():
        foreign = [path.name for path in folder.iterdir() if not path.name.startswith(_OURS)]
        foreign = [name for name in foreign if not _PLACE.fullmatch(name)]
        if foreign:
            raise InvalidFile(folder, f"is not empty and holds no activations ({foreign[0]}); choose another folder")


def require_claimable(folder: Path, description: dict[str, Any]) -> None:
    """Raise :class:`InvalidFile` unless the folder is new, empty, or this very harvest's."""
    if not (folder / NAME).exists():
        if folder.exists() and any(not path.name.startswith(_OURS) for path in folder.iterdir()):
            raise InvalidFile(folder, "is not empty and holds no activations; choose another folder")
        return
    stored = read_description(folder)
    if identity(stored) != identity(description):
        changes = _changes(identity(stored), identity(description))
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
        several = places_below(folder)
        if several:
            names = ", ".join(several)
            raise InvalidFile(folder, f"holds the activations of several places; name the folder of one: {names}")
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


def _changes(stored: dict[str, Any], asked: dict[str, Any]) -> str:
    """What differs, field by field."""
    there, here = _flat(stored), _flat(asked)
    keys = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    return "; ".join(f"{k} is {there.get(k)!r} there and {here.get(k)!r} here" for k in keys)


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    """Nested fields as ``outer.inner``."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat
