"""What a harvest will need, said before it starts: disk, memory and time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from expander_theory.base import InvalidFile

_GIB = 2**30
_SLACK = 16 << 20
"""Bytes that must stay free beside the shards: file headers, and whatever else writes."""


@dataclass(frozen=True)
class Estimate:
    """What is still to do.

    Attributes:
        tokens: to run through the model.
        disk: bytes of the shards to write.
        free: bytes free where they go.
        memory: bytes of the model's parameters on the CPU, a shard of each place, one being written, and one batch.
        seconds: from one timed batch.
    """

    tokens: int
    disk: int
    free: int
    memory: int
    seconds: float

    def __str__(self) -> str:
        minutes = max(1, round(self.seconds / 60))
        return (
            f"harvest of {self.tokens:,} tokens: about {self.disk / _GIB:.2f} GiB on disk "
            f"({self.free / _GIB:.1f} GiB free), {self.memory / _GIB:.2f} GiB of memory, {minutes} min"
        )


def free_bytes(folder: str | os.PathLike[str]) -> int:
    """Bytes free where a folder lies, or will lie once it is made."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def require_space(folder: Path, needed: int) -> None:
    """Raise :class:`InvalidFile` if fewer than ``needed`` bytes, and a little more, are free there."""
    free = free_bytes(folder)
    if free < needed + _SLACK:
        problem = f"the harvest needs {needed / _GIB:.2f} GiB of disk and {free / _GIB:.2f} GiB are free"
        raise InvalidFile(folder, f"{problem}: free some, harvest fewer tokens, in bfloat16, or into another folder")


def parameter_bytes(model: torch.nn.Module) -> int:
    """Bytes of the parameters that lie on the CPU."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.device.type == "cpu")


def seconds_per_token(run: Callable[[torch.Tensor], object], tokens: torch.Tensor) -> float:
    """Time of one forward pass over ``tokens`` (contexts, context) per token, after one over the first context."""
    run(tokens[:1])
    start = time.perf_counter()
    run(tokens)
    return (time.perf_counter() - start) / tokens.numel()
