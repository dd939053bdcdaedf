"""``activations.json``: what a store of activations was harvested from, and how; checked before anything is added."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from expander_theory.errors import InvalidFile
from expander_theory.files import atomic_write, canonical_json

KIND, VERSION = "expander-activations", 2
SPLITS = ("train", "held_out")
NAME = "activations.json"

_SPELLINGS = ("model", "text", "tokenizer")
"""Names and paths, which say nothing about the content: fingerprints and hashes do."""
_OURS = (f".{NAME}.", ".harvest.lock")
"""What a harvest that was killed before it wrote its description may have left."""
_NEEDED = {
    **dict.fromkeys(("m", "context", "contexts_per_shard", "layer"), int),
    **dict.fromkeys(("contexts", "tokens_sha256", "policy"), dict),
    **dict.fromkeys(("model_fingerprint", "hook", "dtype"), str),
}


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
    try:
        description = json.loads(path.read_text())
        kind, version = description["kind"], description["version"]
    except (ValueError, KeyError, TypeError):
        raise InvalidFile(path, "damaged") from None
    if kind != KIND:
        raise InvalidFile(path, f"holds {kind!r}, expected {KIND!r}")
    if not isinstance(version, int) or version > VERSION:
        raise InvalidFile(path, f"format version {version} is newer than {VERSION}: upgrade")
    if version < VERSION:
        old = f"format version {version} is older than {VERSION}, which this release reads"
        raise InvalidFile(path, f"{old}: harvest again into another folder")
    missing = [key for key, type_ in _NEEDED.items() if not isinstance(description.get(key), type_)]
    if missing:
        raise InvalidFile(path, f"damaged: it lacks {', '.join(missing)}")
    return description


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    """Nested fields as ``outer.inner``."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat
