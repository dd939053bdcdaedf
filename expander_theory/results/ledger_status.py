"""What state a ledger is in."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from expander_theory.results.ledger import being_written, records_of
from expander_theory.results.ledger_format import Contents, read_contents
from expander_theory.results.records.sweep import BlockRecord, FailureRecord, TaskRecord


@dataclass(frozen=True)
class Failure:
    """Quarantined blocks that failed with the same error, and one of them, with its traceback where that is known."""

    error: str
    blocks: int
    task: str
    block: int
    traceback: str | None = None


@dataclass(frozen=True)
class Status:
    """State of a ledger.

    Attributes:
        contents: identity, records, provenance, torn last line.
        written: when the file was last changed, UTC.
        being_written: whether a process has it open for writing now; then a torn last line is one being written.
        tasks: of a sweep, that have a record.
        blocks: of trials that are done.
        trials: in them.
        failures: blocks that failed and are not done, the commonest error first.
    """

    contents: Contents
    written: datetime
    being_written: bool
    tasks: int
    blocks: int
    trials: int
    failures: tuple[Failure, ...]


def ledger_status(path: str | os.PathLike[str]) -> Status:
    """Read a ledger's state, without locking or changing it.

    Raises:
        InvalidFile: missing, damaged, or of a newer format.
    """
    writing = being_written(path)
    contents = read_contents(path)
    written = datetime.fromtimestamp(os.stat(path).st_mtime, UTC)
    kinds = (TaskRecord, BlockRecord, FailureRecord)
    tasks = {record.task for record in contents.records if isinstance(record, kinds)}
    done = {(r.task, r.block): len(r.outcome) for r in records_of(contents.records, BlockRecord)}
    failures = _failures(records_of(contents.records, FailureRecord), done)
    return Status(contents, written, writing, len(tasks), len(done), sum(done.values()), failures)


def _failures(records: Sequence[FailureRecord], done: dict[tuple[str, int], int]) -> tuple[Failure, ...]:
    last = {(record.task, record.block): record for record in records}
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for place, record in last.items():
        if place not in done:
            groups[record.failed].append(place)
    found = [Failure(e, len(places), *min(places), last[min(places)].traceback) for e, places in groups.items()]
    return tuple(sorted(found, key=lambda failure: (-failure.blocks, failure.error)))
