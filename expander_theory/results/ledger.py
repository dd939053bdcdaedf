"""Results on disk: one JSON object a line, appended and flushed, safe to interrupt at any byte."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from expander_theory.base import InvalidFile, require
from expander_theory.results._provenance import provenance
from expander_theory.results.files import atomic_write, canonical_json, naming
from expander_theory.results.ledger_format import (
    CHECKSUM,
    VERSION,
    diff,
    header_line,
    is_provenance,
    parse,
    read_contents,
    record_line,
    rewritten,
)
from expander_theory.results.locks import held, is_locked, locked
from expander_theory.results.records._untagged import tagged
from expander_theory.results.records.base import Record
from expander_theory.results.records.codec import KIND_KEY, VERSION_KEY, is_tagged, to_json

Kind = TypeVar("Kind", bound=Record)

WRITING = "is writing to this ledger"
SYNC_SECONDS = 0.5
"""The disk is waited for at most this often: writing a record takes microseconds, a wait milliseconds."""


class Ledger:
    """An append-only file of records that belong to one experiment.

    The first line holds the experiment's identity. Opening an existing ledger with another identity is refused, and a
    last line torn by a crash is cut off. A lock keeps a second writer out. The first record appended after each opening
    is preceded by a line of :func:`~expander_theory.results._provenance.provenance`, which is no record: neither
    ``records`` nor :func:`read_ledger` shows it. Use as a context manager.

    What ``append`` has returned from survives the death of the process. A power failure can lose the records of at
    most the last :data:`SYNC_SECONDS` of appending; closing waits for the disk. After a failed write (full disk) all
    earlier records are intact, and appending, or opening again, goes on from there.

    A ledger of an older format is rewritten in the present one on opening, its records unchanged.

    Attributes:
        records: those of the file and those appended, in order; a dictionary where one is of no kind of this project's.

    Raises:
        InvalidFile: the ledger belongs to another experiment, is damaged before its last line, is of a
            newer format, or is being written by another process.
        OSError: the disk is full or read-only; names the ledger.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.identity: dict[str, Any] = json.loads(canonical_json(dict(identity)))

    def __enter__(self) -> Ledger:
        with ExitStack() as stack:
            stack.enter_context(locked(self.path, WRITING))
            self._file = stack.enter_context(self._open())
            stack.enter_context(held(self._file.fileno(), self.path, WRITING))
            self._begin()
            self._held = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        with self._held, naming(self.path):
            if self._unsynced:
                os.fsync(self._file.fileno())

    def _open(self) -> FileIO:
        """The file, ready for appending; ``_whole`` is the length of its whole lines, the rest is torn."""
        self._whole, self._torn, self._unsynced, self._synced_at, self._signed = 0, False, False, -SYNC_SECONDS, False
        self.records: list[Any] = []
        if self.path.exists() and self.path.stat().st_size:
            self._load()
        return open(self.path, "ab", buffering=0)

    def _begin(self) -> None:
        """The file as it was read, ready for the next line."""
        self._torn = self._file.tell() != self._whole
        if self._whole == 0:
            self._write(header_line(self.identity))
        elif self._torn:
            self._cut()

    def _load(self) -> None:
        found = parse(self.path)
        if found is None:  # no whole line: nothing but the start of our own header may be cut off
            begun, ours = self.path.read_bytes(), [header_line(self.identity, v) for v in range(1, VERSION + 1)]
            if not any(line.startswith(begun) for line in ours):
                raise InvalidFile(self.path, "is not a ledger of this project")
            return
        changes = [f"{at} is {old} there and {new} here" for at, old, new in diff(found.identity, self.identity)]
        if changes:
            raise InvalidFile(self.path, f"belongs to another experiment: {'; '.join(changes)}; choose another folder")
        self.records, self._whole = found.records, found.whole
        if found.version < VERSION:
            lines = rewritten(self.path, found)
            atomic_write(self.path, lines)
            self._whole = len(lines)

    def append(self, record: Record | Mapping[str, Any]) -> None:
        """Add one record; on return the operating system has it.

        Args:
            record: of this project's kinds, or a JSON-able and finite mapping of one's own, in a ledger of one's own.

        Raises:
            InvalidArgument: a mapping that would be read as a record of this project's.
        """
        stored = to_json(record) if isinstance(record, Record) else dict(record)
        require(not is_provenance(stored), "record", stored, "provenance is written by the ledger itself")
        require(CHECKSUM not in stored, "record", stored, f"must not have a field {CHECKSUM}")
        if not isinstance(record, Record):
            require(not is_tagged(stored), "record", stored, f"must not have both {KIND_KEY!r} and {VERSION_KEY!r}")
            kind = self.identity.get("kind")
            require(tagged(kind, stored) is None, "record", stored, "must be a Record, as all in such a ledger")
        line = record_line(stored)
        if not self._signed:
            shard = {"shard": self.identity["shard"]} if "shard" in self.identity else {}
            line = record_line({"provenance": {**provenance(), **shard}}) + line
        self._write(line)
        self._signed = True
        self.records.append(record if isinstance(record, Record) else stored)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The records of one kind, in order."""
        return records_of(self.records, kind)

    def _write(self, data: bytes) -> None:
        """Append whole lines. Should an error or an interrupt break in, the next call first cuts off what it left."""
        with naming(self.path):
            if self._torn:
                self._cut()
            self._torn = self._unsynced = True
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
            if time.monotonic() - self._synced_at >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._unsynced, self._synced_at = False, time.monotonic()
            self._whole += len(data)
            self._torn = False

    def _cut(self) -> None:
        with naming(self.path):
            self._file.truncate(self._whole)
        self._torn = False


def read_ledger(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Identity and records of a ledger, without locking or changing it.

    Raises:
        InvalidFile: missing, damaged, or of a newer format.
    """
    contents = read_contents(path)
    return contents.identity, contents.records


def read_records(path: str | os.PathLike[str], kind: type[Kind]) -> list[Kind]:
    """The records of one kind in a ledger, without locking or changing it.

    Raises:
        InvalidFile: missing, damaged, or of a newer format.
    """
    return records_of(read_contents(path).records, kind)


def records_of(records: Iterable[Any], kind: type[Kind]) -> list[Kind]:
    """Those of one kind, in order."""
    return [record for record in records if isinstance(record, kind)]


def being_written(path: str | os.PathLike[str]) -> bool:
    """Whether a process has the ledger open for writing now, as far as the file system can tell."""
    return is_locked(path)
