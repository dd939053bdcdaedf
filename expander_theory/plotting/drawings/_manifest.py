"""What came from what: hashes of ledgers, of the data plotted, of the files written; and which of them are stale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from expander_theory.base import InvalidFile
from expander_theory.plotting.drawings.output import Drawing
from expander_theory.plotting.drawings.sources import Source
from expander_theory.results import atomic_write, canonical_json, read_contents, read_json

NAME = "manifest.json"


def entry(results: Path, ledgers: list[Path], drawing: Drawing, files: dict[str, bytes]) -> dict[str, Any]:
    """What the manifest says of one figure."""
    import matplotlib

    return {
        "inputs": inputs(results, ledgers),
        "data": data_hash(drawing),
        "files": {name: sha256(content) for name, content in sorted(files.items())},
        "matplotlib": matplotlib.__version__,
    }


def inputs(results: Path, ledgers: list[Path]) -> dict[str, str]:
    """Content hashes of ledgers, and hashes of other files, by their place below the results (or the file's folder)."""
    folder = results if results.is_dir() else results.parent
    return {str(path.relative_to(folder)): _content_hash(path) for path in ledgers}


def _content_hash(path: Path) -> str:
    return sha256(path.read_bytes()) if path.suffix == ".json" else read_contents(path).sha256


def data_hash(drawing: Drawing) -> str:
    """SHA-256 (hex) of data and tables of a drawing, to six digits: fits differ in the last ones between machines."""
    tables = {name: [shown.title, _rounded(shown.rows), shown.note] for name, shown in drawing.tables.items()}
    return sha256(canonical_json({"data": _rounded(drawing.data), "tables": tables}).encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    return str(value)


def sha256(content: bytes) -> str:
    """SHA-256 (hex)."""
    return hashlib.sha256(content).hexdigest()


def read(out: Path) -> dict[str, Any]:
    """The entries of a folder of figures, by name; empty where it has no manifest.

    Raises:
        InvalidFile: a damaged manifest, or one of another release.
    """
    path = out / NAME
    if not path.is_file():
        return {}
    try:
        return dict(read_json(path, _Manifest)["figures"])
    except InvalidFile as error:
        raise InvalidFile(path, f"{error.problem}; delete it and draw the figures again") from None


class _Entry(TypedDict):
    inputs: dict[str, str]
    data: str
    files: dict[str, str]
    matplotlib: str


class _Manifest(TypedDict):
    figures: dict[str, _Entry]


def write(out: Path, entries: dict[str, Any]) -> Path:
    """Write the manifest of a folder of figures."""
    path = out / NAME
    atomic_write(path, json.dumps({"figures": entries}, indent=2, sort_keys=True).encode() + b"\n")
    return path


def staleness(source: Source, results: Path, out: Path, entries: dict[str, Any]) -> Iterator[str]:
    """Why a figure is not what its results would give now; nothing where it is, or where there is nothing to draw."""
    found, known = source.found(results), entries.get(source.name)
    if found is None:
        if known is not None:
            yield f"its ledgers ({', '.join(known['inputs'])}) are gone or hold nothing to draw"
        return
    if known is None:
        yield "was not drawn yet"
        return
    ledgers, drawing = found
    now = inputs(results, ledgers)
    for path in sorted({*now, *known["inputs"]}):
        if path not in now:
            yield f"{path} is gone"
        elif path not in known["inputs"]:
            yield f"{path} is new"
        elif now[path] != known["inputs"][path]:
            yield f"{path} holds other records than when it was drawn"
    if now == known["inputs"] and data_hash(drawing) != known["data"]:
        yield "the code makes other data of the same records than when it was drawn"
    for name, digest in known["files"].items():
        path = out / name
        if not path.is_file():
            yield f"{path} is missing"
        elif sha256(path.read_bytes()) != digest:
            yield f"{path} was changed since it was drawn"
