"""Checkpoints of which every process has a part: one file each, beside the place of an ordinary one."""

from __future__ import annotations

import re
from pathlib import Path

from expander_theory.base import InvalidFile


def part_path(path: Path, step: int, rank: int, size: int) -> Path:
    """Where process ``rank`` of ``size`` keeps its part of what ``path`` would hold after ``step`` steps."""
    return path.with_name(f"{path.stem}.{step}.part{rank}of{size}{path.suffix}")


def parts_of(path: Path) -> dict[tuple[int, int, int], Path]:
    """All parts that lie there, by (step, rank, size)."""
    pattern = re.compile(re.escape(path.stem) + r"\.(\d+)\.part(\d+)of(\d+)" + re.escape(path.suffix))
    found = {}
    for place in sorted(path.parent.glob(f"{path.stem}.*{path.suffix}")):
        if match := pattern.fullmatch(place.name):
            found[int(match[1]), int(match[2]), int(match[3])] = place
    return found


def newest_whole(path: Path, size: int) -> int | None:
    """The last step of which all ``size`` parts are there; None where there is none.

    A process that is killed leaves the others' parts of a step: those of the step before are removed only when all
    have written.

    Raises:
        InvalidFile: parts of another number of processes, or an ordinary checkpoint.
    """
    if path.is_file():
        raise InvalidFile(path, "was written by a run whose features are not split; go on without --split features")
    found = parts_of(path)
    for (_, _, others), place in found.items():
        if others != size:
            allowed = f"go on with {others} processes, or delete the parts to start again"
            raise InvalidFile(place, f"is of {others} processes, and here are {size}: {allowed}")
    steps = {step for step, _, _ in found}
    return max((s for s in steps if all((s, rank, size) in found for rank in range(size))), default=None)


def require_no_parts(path: Path) -> None:
    """Raise InvalidFile where processes with split features have left a checkpoint."""
    for (_, _, size), place in parts_of(path).items():
        allowed = "go on as it was (torchrun, --split features), or delete the parts to start again"
        raise InvalidFile(place, f"was written by {size} processes with features split: {allowed}")
