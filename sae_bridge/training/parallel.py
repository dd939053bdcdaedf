"""Several processes under torchrun: one batch split over them, the features of each SAE, or the SAEs dealt out.

Without torchrun there is one process, and everything here is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from expander_theory.base import require_choice

Split = Literal["batch", "saes", "features"]
SPLITS = ("batch", "saes", "features")


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        rank, size: of this process, and their number.
        split: "batch": every process takes its part of each batch, gradients are averaged, and process 0 writes;
            "saes": every process trains its own SAEs on whole batches; "features": every process has whole batches
            and a part of the features of each SAE (:mod:`sae_bridge.training.split`).
    """

    rank: int = 0
    size: int = 1
    split: Split = "batch"

    def __post_init__(self) -> None:
        require_choice("split", self.split, SPLITS)

    @property
    def sharing(self) -> int:
        """Processes that share a batch."""
        return self.size if self.split == "batch" else 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the files of its SAEs."""
        return not self.in_step or self.rank == 0

    @property
    def in_step(self) -> bool:
        """Whether the processes train the same SAEs, step by step together."""
        return self.size > 1 and self.split != "saes"

    def part(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch (all of it where batches are not shared)."""
        return batch.tensor_split(self.sharing)[self.rank] if self.sharing > 1 else batch

    def total(self, x: Tensor) -> Tensor:
        """Sum over the processes that share a batch."""
        if self.sharing > 1:
            dist.all_reduce(x)
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the processes that share a batch."""
        return self.total(x) / self.sharing if self.sharing > 1 else x

    def gathered(self, x: Tensor) -> Tensor:
        """The rows of all processes that share a batch, in the order of the batch."""
        if self.sharing == 1:
            return x
        parts = [torch.empty_like(x) for _ in range(self.sharing)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean, in one exchange."""
        if self.sharing == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([g.flatten() for g in gradients]))
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            g.copy_(part.view_as(g))

    def wait(self) -> None:
        """Until all processes that train the same SAEs are here."""
        if self.in_step:
            dist.barrier()

    def any(self, true: bool, device: torch.device) -> bool:
        """Whether it is true in one of the processes that train the same SAEs."""
        if not self.in_step:
            return true
        found = torch.tensor(int(true), device=device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)


@contextmanager
def world(split: Split = "batch", *, backend: str | None = None) -> Iterator[World]:
    """The processes that torchrun started (it sets RANK and WORLD_SIZE); one where it did not.

    Args:
        split: see :class:`World`.
        backend: of torch.distributed; by default NCCL where CUDA is, else gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(split=split)
        return
    dist.init_process_group(backend or ("nccl" if torch.cuda.is_available() else "gloo"))
    try:
        yield World(dist.get_rank(), dist.get_world_size(), split)
    finally:
        dist.destroy_process_group()
