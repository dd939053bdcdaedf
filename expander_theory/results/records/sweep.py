"""Records of a sweep: its tasks, blocks of trials, failures and certificates, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from expander_theory.results.records.base import Outcome, Record
from expander_theory.results.typed import Count, Nonnegative, Share, Size


@dataclass(frozen=True)
class TaskRecord(Record):
    """What a task is, written once, ahead of its first block.

    Attributes:
        task: the task's id, a hash of its content and of the kernels' version.
        kernel: version of the kernels whose results belong to the id; None in ledgers that did not say.
        content: every field of the task, nested, files by their hashes.
    """

    KIND: ClassVar[str] = "task"
    task: str
    content: dict[str, Any]
    kernel: str | None = None


@dataclass(frozen=True)
class BlockRecord(Record):
    """The results of one block of trials.

    Attributes:
        task: id of its task.
        block: number of the block within the task, from 0.
        outcome: one character a trial, 1 where the code was recovered.
        fraction: mean share of planted atoms found; None if not measured.
        error: mean relative l2 error of the codes; None if not measured.
    """

    KIND: ClassVar[str] = "block"
    task: str
    block: Count
    outcome: Outcome
    fraction: Share | None
    error: Nonnegative | None


@dataclass(frozen=True)
class FailureRecord(Record):
    """A block that was given up.

    Attributes:
        task: id of its task.
        block: number of the block within the task, from 0.
        failed: the error of the last attempt.
        attempts: how often it was tried.
        traceback: of the last attempt; None where the worker died, and in ledgers that did not say.
    """

    KIND: ClassVar[str] = "failure"
    task: str
    block: Count
    failed: str
    attempts: Count
    traceback: str | None = None


@dataclass(frozen=True)
class CertificateRecord(Record):
    """The sparsity that the Babel function certifies for OMP on one dictionary of an ensemble (THEORY.md OMP-3).

    Attributes:
        certified_k: every code with at most so many nonzeros is recovered.
        draw: number of the dictionary, from 0.
        family: of the ensemble's masks; of a user's function its name and the beginning of its hash.
        m: rows.
        n: columns.
        d: nonzeros of a column.
        values: "signs", "gaussian", "flat" or "stored".
        flatness: C of every column for "flat" values, 0 otherwise.
        sha256: content hash of a stored dictionary, or of a user's function; empty otherwise.
    """

    KIND: ClassVar[str] = "certificate"
    certified_k: Count
    draw: Count
    family: str
    m: Size
    n: Size
    d: Size
    values: str = "signs"
    flatness: float = 0.0
    sha256: str = ""


@dataclass(frozen=True)
class TimingRecord(Record):
    """What a part of an experiment cost in one run; several runs of a part add up.

    Attributes:
        part: of the experiment.
        workers: processes that ran trials.
        seconds: of the clock.
        processor_seconds: of this process and of the workers that have ended.
        trials: that the run added.
    """

    KIND: ClassVar[str] = "timing"
    part: str
    workers: Size
    seconds: Nonnegative
    processor_seconds: Nonnegative
    trials: Count
