"""What state a ledger is in."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from expander_theory.results.ledger import being_written
from expander_theory.results.ledger_format import Contents, read_contents


@dataclass(frozen=True)
class Failure:
    """Quarantined blocks that failed with the same error, and one of them."""

    error: str
    blocks: int
    task: str
    block: int


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
    tasks = {r["task"] for r in contents.records if "task" in r}
    results = [r for r in contents.records if {"task", "block", "outcome"} <= r.keys()]
    done = {(r["task"], r["block"]): len(r["outcome"]) for r in results}
    failures = _failures(contents.records, done)
    return Status(contents, written, writing, len(tasks), len(done), sum(done.values()), failures)


def _failures(records: Sequence[dict[str, Any]], done: dict[tuple[str, int], int]) -> tuple[Failure, ...]:
    last = {(r["task"], r["block"]): r["failed"] for r in records if {"task", "block", "failed"} <= r.keys()}
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for place, error in last.items():
        if place not in done:
            groups[error].append(place)
    found = [Failure(error, len(places), *min(places)) for error, places in groups.items()]
    return tuple(sorted(found, key=lambda failure: (-failure.blocks, failure.error)))
