"""Format of a ledger's file: a header line with the identity, then records and provenance, one JSON object a line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expander_theory.errors import InvalidFile
from expander_theory.files import canonical_json

VERSION = 2
"""Format: 1 had no lines of provenance."""


@dataclass(frozen=True)
class Contents:
    """What the file of a ledger holds.

    Attributes:
        identity: of the experiment.
        records: in order, without provenance.
        provenance: one entry for each opening that appended something, in order.
        version: of the format.
        whole: bytes of the whole lines.
        torn: bytes after them: a line that a crash broke off, or that is being written.
    """

    identity: dict[str, Any]
    records: list[dict[str, Any]]
    provenance: list[dict[str, Any]]
    version: int
    whole: int
    torn: int

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of identity and records in their order: the same whatever the provenance."""
        digest = hashlib.sha256(header_line(self.identity))
        for record in self.records:
            digest.update(record_line(record))
        return digest.hexdigest()


def read_contents(path: str | os.PathLike[str]) -> Contents:
    """As :func:`read_ledger`, with provenance and the state of the file."""
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(path, "no such results file")
    contents = parse(path)
    if contents is None:
        raise InvalidFile(path, "holds no complete header line")
    return contents


def find_ledgers(path: str | os.PathLike[str]) -> list[Path]:
    """The path itself, or the ledgers (``*.jsonl``) that lie directly in a folder.

    Raises:
        InvalidFile: nothing there.
    """
    path = Path(path)
    found = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not found:
        raise InvalidFile(path, "holds no ledger (*.jsonl)")
    return found


def find_ledger(path: str | os.PathLike[str]) -> Path:
    """The path itself, or the one ledger, or ``ledger.jsonl``, that lies directly in a folder.

    Raises:
        InvalidFile: the folder holds none, or several of other names.
    """
    found = find_ledgers(path)
    named = [file for file in found if file.name == "ledger.jsonl"] or found
    if len(named) > 1:
        raise InvalidFile(path, f"holds several ledgers: name one of {', '.join(file.name for file in named)}")
    return named[0]


def header_line(identity: Mapping[str, Any], version: int = VERSION) -> bytes:
    """First line of a ledger's file."""
    return record_line({"ledger": version, "identity": identity})


def record_line(record: Mapping[str, Any]) -> bytes:
    """A record as a line of the file; equal records have equal lines."""
    return canonical_json(dict(record)).encode() + b"\n"


def is_provenance(record: Mapping[str, Any]) -> bool:
    """Whether a line says where the records after it come from."""
    return record.keys() == {"provenance"}


def parse(path: Path) -> Contents | None:
    """The whole lines of a file, None if there is none; errors as :func:`read_contents`."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    lines = list(_lines(path, data[:whole]))
    if not lines:
        return None
    header, version = lines[0], lines[0].get("ledger")
    if not isinstance(version, int) or not isinstance(header.get("identity"), dict):
        raise InvalidFile(path, "is not a ledger of this project")
    if version > VERSION:
        raise InvalidFile(path, f"format version {version} is newer than {VERSION}, the newest that is read: upgrade")
    signed = [line["provenance"] for line in lines[1:] if is_provenance(line)]
    records = [line for line in lines[1:] if not is_provenance(line)]
    return Contents(header["identity"], records, signed, version, whole, len(data) - whole)


def _lines(path: Path, data: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            raise InvalidFile(path, f"line {number} is damaged; without that line the file can be used") from None
        if not isinstance(record, dict):
            raise InvalidFile(path, f"line {number} is not a record")
        yield record


def diff(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, str, str]]:
    """Where two JSON values differ, and what each has there: ("ensemble.d", "7", "8")."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from diff(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{at}.{key}" if at else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from diff(*pair, f"{at}[{index}]")
    elif old != new:
        yield at, _shown(old), _shown(new)


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)


_ABSENT = object()
