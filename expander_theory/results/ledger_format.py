"""Format of a ledger's file: a header line with the identity, then records and provenance, one JSON object a line.

A record's line also names its kind and version, as :func:`expander_theory.results.to_json` writes them; a line without
them is of an earlier release, or is nobody's: what it holds is then read as it is.

The last entry of every line is its checksum: ``"crc32"``, eight hexadecimal digits, of the line's bytes without it.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from expander_theory.base import InvalidFile
from expander_theory.results._identities import Provenance, check_identity
from expander_theory.results.files import canonical_json
from expander_theory.results.records._untagged import tagged
from expander_theory.results.records.codec import from_json, is_tagged
from expander_theory.results.typed import Size, parsed, typed

VERSION = 4
"""Format: 1 had no lines of provenance, 2 no checksums, 3 no kinds and versions of records.

Records that were written before stay in a ledger as they are, whatever its format.
"""
CHECKSUM = "crc32"
_CHECKED = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\Z')
_NAMED = 2
"""The format whose header goes into content hashes, so that these do not change with the format."""


@dataclass(frozen=True)
class Contents:
    """What the file of a ledger holds.

    Attributes:
        identity: of the experiment.
        records: in order, without provenance: each a :class:`expander_theory.results.Record`, or a dictionary where the
            line is of no kind of this project's.
        stored: the same as the file holds them.
        provenance: one entry for each opening that appended something, in order.
        lines: of the records in the file, from 1.
        version: of the file's format; from 3 on every line has been checked against its checksum.
        whole: bytes of the whole lines.
        torn: bytes after them: a line that a crash broke off, or that is being written.
    """

    identity: dict[str, Any]
    records: list[Any]
    stored: list[dict[str, Any]]
    provenance: list[dict[str, Any]]
    lines: list[int]
    version: int
    whole: int
    torn: int

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of identity and records in their order: the same whatever the provenance."""
        digest = hashlib.sha256(_body({"ledger": _NAMED, "identity": self.identity}) + b"\n")
        for record in self.stored:
            digest.update(_body(record) + b"\n")
        return digest.hexdigest()

    @property
    def checksums(self) -> bool:
        """Whether its lines have checksums."""
        return self.version >= 3


def read_contents(path: str | os.PathLike[str]) -> Contents:
    """Read a ledger as :func:`read_ledger` does, with provenance and the state of the file."""
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
    header = {"ledger": version, "identity": identity}
    return record_line(header) if version >= 3 else _body(header) + b"\n"


def record_line(record: Mapping[str, Any]) -> bytes:
    """A record as a line of the file; equal records have equal lines, in the order of :func:`canonical_json`."""
    body = _body(record)
    comma = b"," if record else b""
    return body[:-1] + comma + f'"{CHECKSUM}":"{zlib.crc32(body):08x}"}}\n'.encode()


def _body(record: Mapping[str, Any]) -> bytes:
    return canonical_json(dict(record)).encode()


def is_provenance(record: Mapping[str, Any]) -> bool:
    """Whether a line says where the records after it come from."""
    return record.keys() == {"provenance"}


class _Header(TypedDict):
    ledger: Size
    identity: dict[str, Any]


def parse(path: Path) -> Contents | None:
    """The whole lines of a file, None if there is none; errors as :func:`read_contents`."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    if not lines:
        return None
    try:
        header: Any = typed(path, parsed(path, lines[0], "line 1"), _Header, "line 1")
    except InvalidFile as error:
        raise InvalidFile(path, f"is not a ledger of this project ({error.problem})") from None
    version, identity = header["ledger"], header["identity"]
    if version > VERSION:
        raise InvalidFile(path, f"format version {version} is newer than {VERSION}, the newest that is read: upgrade")
    if version >= 3:
        _unchecked(path, 1, lines[0])
    check_identity(path, identity)
    records, stored, numbers, signed = [], [], [], []
    for number, line in enumerate(lines[1:], 2):
        found = _line(path, number, _unchecked(path, number, line) if version >= 3 else line)
        if is_provenance(found):
            signed.append(typed(path, found["provenance"], Provenance, f"line {number}: provenance"))
        else:
            records.append(_record(path, number, identity.get("kind"), found))
            stored.append(found)
            numbers.append(number)
    return Contents(identity, records, stored, signed, numbers, version, whole, len(data) - whole)


def _record(path: Path, number: int, kind: Any, stored: dict[str, Any]) -> Any:
    """What a line says, which may have been written by an earlier release."""
    if is_tagged(stored):
        return from_json(stored, path, number)
    try:
        upgraded = tagged(kind, stored)
    except ValueError as error:
        raise InvalidFile(path, f"line {number}: {error}") from None
    return stored if upgraded is None else from_json(upgraded, path, number)


def rewritten(path: Path, contents: Contents) -> bytes:
    """The whole lines of a ledger of an older format in the present one, provenance where it was."""
    lines = path.read_bytes()[: contents.whole].split(b"\n")[1:-1]
    if contents.checksums:
        return b"\n".join([header_line(contents.identity)[:-1], *lines, b""])
    return header_line(contents.identity) + b"".join(
        record_line(_line(path, i, line)) for i, line in enumerate(lines, 2)
    )


def _unchecked(path: Path, number: int, line: bytes) -> bytes:
    """A line without its checksum, which is that of the rest."""
    found = _CHECKED.search(line) or re.fullmatch(rb'\{"crc32":"([0-9a-f]{8})"\}', line)
    body = b"{}" if found is None or found.start() == 0 else line[: found.start()] + b"}"
    if found is None or zlib.crc32(body) != int(found[1], 16):
        why = "has no checksum" if found is None else "does not have the checksum that it was written with"
        raise InvalidFile(path, f"line {number} is damaged: it {why}; without that line the file can be used")
    return body


def _line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = parsed(path, line, f"line {number}")
    except InvalidFile as error:
        reason = error.problem.removeprefix(f"damaged: line {number} ")
        raise InvalidFile(path, f"line {number} is damaged: {reason}; without that line the file can be used") from None
    if not isinstance(record, dict):
        raise InvalidFile(path, f"line {number} is not a record")
    return record


def diff(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, str, str]]:
    """List where two JSON values differ, and what each has there: ("ensemble.d", "7", "8")."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from diff(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{at}.{key}" if at else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from diff(*pair, f"{at}[{index}]")
    elif old != new:
        yield at, _shown(old), _shown(new)


def _shown(value: Any) -> str:
    text = "absent" if value is _ABSENT else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


_LONGEST = 200  # characters of a value in a message


_ABSENT = object()
