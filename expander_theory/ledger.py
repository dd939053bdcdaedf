"""Results on disk: one JSON object a line, appended and flushed, safe to interrupt at any byte."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from expander_theory.errors import InvalidFile
from expander_theory.files import canonical_json, naming

VERSION = 1


class Ledger:
    """An append-only file of records that belong to one experiment.

    The first line holds the experiment's identity. Opening an existing ledger with another identity
    is refused, and a last line torn by a crash is cut off. A lock keeps a second writer out.
    Use as a context manager.

    Raises:
        InvalidFile: the ledger belongs to another experiment, is damaged before its last line, is of a
            newer format, or is being written by another process.
        OSError: the disk is full or read-only.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.identity = json.loads(canonical_json(dict(identity)))
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))

    def __enter__(self) -> Ledger:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InvalidFile(self.path, "another process is writing to this ledger") from None
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        try:
            self._file.close()
        finally:
            self._lock.release()

    def _open(self) -> None:
        whole = 0
        header = {"ledger": VERSION, "identity": self.identity}
        self.records: list[dict[str, Any]] = []
        if self.path.exists() and self.path.stat().st_size:
            stored, self.records, whole = _parse(self.path)
            if stored is None and not _line(header).startswith(self.path.read_bytes()):
                raise InvalidFile(self.path, "is not a ledger of this project")
            if stored is not None and stored != self.identity:
                raise InvalidFile(self.path, f"belongs to another experiment: {_difference(stored, self.identity)}")
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        if self._file.tell() != whole:
            self._file.truncate(whole)
        if whole == 0:
            self._write(header)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; on return it has been handed to the disk."""
        self._write(record)
        self.records.append(dict(record))

    def _write(self, record: Mapping[str, Any]) -> None:
        left = memoryview(_line(record))
        with naming(self.path):
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())


def read_ledger(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Identity and records of a ledger, without locking or changing it.

    Raises:
        InvalidFile: missing, damaged, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(path, "no such results file")
    identity, records, _ = _parse(path)
    if identity is None:
        raise InvalidFile(path, "holds no complete header line")
    return identity, records


def _line(record: Mapping[str, Any]) -> bytes:
    return canonical_json(dict(record)).encode() + b"\n"


def _parse(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]], int]:
    """Identity (None if the header itself is torn), records, and the length of the whole lines."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    lines = list(_lines(path, data[:whole]))
    if not lines:
        return None, [], 0
    header = lines[0]
    if not isinstance(header.get("ledger"), int) or not isinstance(header.get("identity"), dict):
        raise InvalidFile(path, "is not a ledger of this project")
    if header["ledger"] > VERSION:
        raise InvalidFile(path, f"format version {header['ledger']} is newer than {VERSION}: upgrade")
    return header["identity"], lines[1:], whole


def _lines(path: Path, data: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            raise InvalidFile(path, f"line {number} is damaged") from None
        if not isinstance(record, dict):
            raise InvalidFile(path, f"line {number} is not a record")
        yield record


def _difference(stored: dict[str, Any], asked: dict[str, Any]) -> str:
    changes = [
        f"{key} is {stored.get(key)!r} there and {asked.get(key)!r} here"
        for key in sorted({*stored, *asked})
        if stored.get(key) != asked.get(key)
    ]
    return "; ".join(changes) + "; choose another folder"
