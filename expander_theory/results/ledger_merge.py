"""Several ledgers of one sweep made one, such as shards that ran on several machines."""

from __future__ import annotations

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from expander_theory.base import InvalidFile, require
from expander_theory.results.files import atomic_write, canonical_json
from expander_theory.results.ledger import WRITING, being_written
from expander_theory.results.ledger_format import Contents, diff, header_line, read_contents, record_line
from expander_theory.results.locks import locked
from expander_theory.results.records.base import Record
from expander_theory.results.records.codec import fields_of, to_json
from expander_theory.results.records.sweep import BlockRecord, CertificateRecord, FailureRecord, TaskRecord


@dataclass(frozen=True)
class Merged:
    """What :func:`merge_ledgers` did.

    Attributes:
        records: in the merged ledger.
        duplicates: records left out because another one equals them.
        mended: failures left out because their block succeeded elsewhere, or failed elsewhere too.
        rounded: blocks left out because another one has the same outcome, and a mean error that differs in rounding.
        shards: a line for each splitting whose shards were merged, with those that are missing.
        unfinished: inputs that a process is writing to now; what they held was merged.
    """

    records: int
    duplicates: int
    mended: int
    rounded: int
    shards: tuple[str, ...]
    unfinished: tuple[Path, ...]


def merge_ledgers(out: str | os.PathLike[str], inputs: Sequence[str | os.PathLike[str]]) -> Merged:
    """Write the union of a sweep's ledgers to ``out``, with what it holds already; the inputs stay as they are.

    Identities must agree but for "shard" (such as "1/3", the first of three), which that of ``out`` lacks. Of equal
    records one is kept, and of a block that failed here and succeeded there the success. A block with two outcomes is
    an error, as are a task with two contents and a dictionary with two certified k. Records of other experiments are
    refused: nothing in them tells whether two of them are about the same.

    The records are sorted: by the task's content, then block; then all others. So the file depends neither on the
    order of the inputs nor on how they are grouped in several merges. Provenance is kept, sorted by time, ahead of the
    records.

    Raises:
        InvalidArgument: no inputs, or ``out`` among them under any name.
        InvalidFile: a ledger is missing or damaged, no sweep's, belongs to another experiment or contradicts another
            one (both are named), or ``out`` is being written.
        OSError: the disk is full or read-only; ``out`` is unchanged.
    """
    out = Path(out)
    require(len(inputs) > 0, "inputs", "none", "must name at least one ledger")
    sources = {path: read_contents(path) for path in map(Path, inputs)}
    same = [path for path in sources if out.exists() and os.path.samefile(path, out)]
    require(not same, "inputs", ", ".join(map(str, same)), f"must not be the ledger that is written, {out}")
    identity = _common_identity(sources)
    with locked(out, WRITING):
        if out.exists() and out.stat().st_size:
            sources[out] = read_contents(out)
            _require_equal(out, sources[out].identity, "the ledgers to merge", identity)
        union = _Union()
        for path, contents in sources.items():
            union.add(path, contents.records)
        records = union.records()
        lines = [header_line(identity), *_provenance_lines(sources.values()), *map(_line, records)]
        atomic_write(out, b"".join(lines))
    unfinished = tuple(path for path in sources if path != out and being_written(path))
    return Merged(len(records), union.duplicates, union.mended, union.rounded, _shard_lines(sources), unfinished)


def _common_identity(sources: Mapping[Path, Contents]) -> dict[str, Any]:
    """The identity of all, without the shard."""
    whole = {path: {**contents.identity} for path, contents in sources.items()}
    for identity in whole.values():
        identity.pop("shard", None)
    first = next(iter(whole))
    for path, identity in whole.items():
        _require_equal(path, identity, first, whole[first])
    return whole[first]


def _require_equal(path: Path, identity: dict[str, Any], other: object, expected: dict[str, Any]) -> None:
    changes = [f"{at} is {here} there and {elsewhere} in {other}" for at, here, elsewhere in diff(identity, expected)]
    if changes:
        raise InvalidFile(path, f"belongs to another experiment: {'; '.join(changes)}")


class _Union:
    """Records of several files under their names, one for each name."""

    def __init__(self) -> None:
        self.duplicates = self.mended = self.rounded = 0
        self._found: dict[tuple[Any, ...], tuple[Record, Path]] = {}

    def add(self, path: Path, records: Iterable[Any]) -> None:
        for record in records:
            name = _name(record)
            if name is None:
                raise InvalidFile(path, f"holds other results than a sweep's, which cannot be merged: {_text(record)}")
            kept, origin = self._found.setdefault(name, (record, path))
            if kept is not record and self._replaces(kept, record, origin, path):
                self._found[name] = record, path

    def _replaces(self, kept: Record, new: Record, origin: Path, path: Path) -> bool:
        """Which of two records of one name stays is a matter of their content, never of their order."""
        if kept == new:
            self.duplicates += 1
            return False
        if isinstance(kept, FailureRecord) or isinstance(new, FailureRecord):
            self.mended += 1
            return _failure_rank(new) < _failure_rank(kept)
        blocks = isinstance(kept, BlockRecord) and isinstance(new, BlockRecord)
        if blocks and replace(kept, error=None) == replace(new, error=None):
            self.rounded += 1
            return _line(new) < _line(kept)
        raise InvalidFile(path, f"contradicts {origin}: {_contradiction(kept, new)}")

    def records(self) -> list[Record]:
        """All, in canonical order."""
        kept = [record for record, _ in self._found.values()]
        contents = {r.task: _rank(r.content) for r in kept if isinstance(r, TaskRecord)}

        def place(record: Record) -> tuple[Any, ...]:
            if not isinstance(record, _OF_TASKS):
                return 1, _rank(to_json(record))
            block = -1 if isinstance(record, TaskRecord) else record.block
            return 0, contents.get(record.task, ()), record.task, block

        return sorted(kept, key=place)


_OF_TASKS = (TaskRecord, BlockRecord, FailureRecord)


def _line(record: Record) -> bytes:
    return record_line(to_json(record))


def _name(record: Any) -> tuple[Any, ...] | None:
    """What a sweep's record is about; two records about the same must agree."""
    if isinstance(record, TaskRecord):
        return "task", record.task, None
    if isinstance(record, (BlockRecord, FailureRecord)):
        return "task", record.task, record.block
    if isinstance(record, CertificateRecord):
        return "certificate", replace(record, certified_k=0)
    return None


def _failure_rank(record: Record) -> tuple[Any, ...]:
    """Successes first, then the failure of most attempts."""
    failed = isinstance(record, FailureRecord)
    return failed, -record.attempts if failed else 0, _line(record)


def _contradiction(kept: Record, new: Record) -> str:
    at, there, here = next(diff(fields_of(kept), fields_of(new)))
    about = "a certificate"
    if isinstance(new, TaskRecord):
        about = new.task[:17]
    elif isinstance(new, BlockRecord):
        about = f"task {new.task[:12]}, block {new.block}"
    return f"{about}: {at} is {there} there and {here} here"


def _text(record: Any) -> str:
    text = canonical_json(to_json(record) if isinstance(record, Record) else record)
    return text if len(text) <= 60 else text[:56] + " ..."


def _rank(value: Any) -> tuple[Any, ...]:
    """A sort key for any two JSON values, with numbers in their own order."""
    if isinstance(value, Mapping):
        return 4, tuple((key, _rank(value[key])) for key in sorted(value))
    if isinstance(value, list):
        return 3, tuple(_rank(item) for item in value)
    if isinstance(value, str):
        return 2, value
    return (0,) if value is None else (1, value)


def _provenance_lines(sources: Iterable[Contents]) -> list[bytes]:
    times = {record_line({"provenance": p}): str(p.get("time")) for contents in sources for p in contents.provenance}
    return sorted(times, key=lambda line: (times[line], line))


def _shard_lines(sources: Mapping[Path, Contents]) -> tuple[str, ...]:
    """Which shards are there: those of the identities, and those that the provenance of merged ledgers names."""
    found: dict[int, set[int]] = defaultdict(set)
    for path, contents in sources.items():
        for about in (contents.identity, *contents.provenance):
            if "shard" in about:
                match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(about["shard"]))
                if not match or not 1 <= int(match[1]) <= int(match[2]):
                    raise InvalidFile(path, f"has the shard {about['shard']!r}, which is not of the form 1/3")
                found[int(match[2])].add(int(match[1]))
    return tuple(_shard_line(count, found[count]) for count in sorted(found))


def _shard_line(count: int, there: set[int]) -> str:
    if len(there) == count:
        return f"all {count} shards merged"
    merged = f"shard{'s' if len(there) > 1 else ''} {', '.join(map(str, sorted(there)))} of {count} merged"
    first = list(itertools.islice((i for i in range(1, count + 1) if i not in there), _SHOWN))
    more = count - len(there) - len(first)
    missing = ", ".join(map(str, first)) + (f" and {more} more" if more else "")
    return f"{merged}; {missing} {'is' if count - len(there) == 1 else 'are'} missing"


_SHOWN = 100
