"""What processes that hold parts of the features tell each other, and how many bytes of it.

Process p of P holds some consecutive features. Every process has every token, so two things are exchanged: the
strengths of each process's k best features, from which each sees which of its own are among the k best of all; and the
sum over processes of their parts of W code. Codes themselves, indices, and gradients of columns stay where they are.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


class Exchange:
    """The collectives of P processes, counted.

    Args:
        rank, size: of this process, and their number.

    Attributes:
        payload: bytes that this process put into collectives, by their kind: "gathered" (all-gather) and "reduced"
            (all-reduce); :attr:`sent` is what that makes on a ring.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.payload: Counter[str] = Counter()

    @property
    def sent(self) -> float:
        """Bytes that this process has sent: P - 1 times what it gathered, 2 (P - 1) / P times what it reduced."""
        others = self.size - 1
        return others * self.payload["gathered"] + 2 * others / self.size * self.payload["reduced"]

    @torch.no_grad()
    def chosen(self, strengths: Tensor, k: int, width: int) -> tuple[Tensor, Tensor]:
        """Which of this process's candidates are among the k strongest of all.

        Among equals the one of the lower process comes first, and of one process the one that comes first there: with
        candidates in the order that one process would list them, ties are broken as there.

        Args:
            strengths: (B, w), decreasing along a row, w <= width; may be empty (w = 0).
            k: how many of all are chosen.
            width: the largest w of all processes.

        Returns:
            bool (B, w); and the k largest of all, (B, min(k, P width)), decreasing, -inf where there are fewer.
        """
        tokens, own = strengths.shape
        padded = torch.nn.functional.pad(strengths.detach(), (0, width - own), value=-torch.inf).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        self.payload["gathered"] += padded.numel() * padded.element_size()
        values, places = torch.cat(parts, dim=1).sort(dim=1, descending=True, stable=True)
        among = torch.zeros(tokens, self.size * width, dtype=torch.bool, device=strengths.device)
        among.scatter_(1, places[:, :k], True)
        begin = self.rank * width
        return among[:, begin : begin + own], values[:, :k]

    def summed(self, part: Tensor) -> Tensor:
        """The sum over processes; its gradient is that of every part, as all processes have the same loss."""
        return cast(Tensor, _Summed.apply(part, self))

    def spread(self, shared: Tensor) -> Tensor:
        """A tensor that all processes have alike, used by each for itself: its gradient is the sum of theirs."""
        return cast(Tensor, _Spread.apply(shared, self))

    def total(self, x: Tensor) -> Tensor:
        """The sum over processes, without gradient."""
        return self._reduced(x, dist.ReduceOp.SUM)

    def least(self, x: Tensor) -> Tensor:
        """The minimum over processes."""
        return self._reduced(x, dist.ReduceOp.MIN)

    def most(self, x: Tensor) -> Tensor:
        """The maximum over processes."""
        return self._reduced(x, dist.ReduceOp.MAX)

    def all(self, true: bool, device: torch.device) -> bool:
        """Whether it is true in every process."""
        return bool(self.least(torch.tensor(int(true), device=device)))

    def wait(self) -> None:
        """Until every process is here."""
        dist.barrier()

    def _reduced(self, x: Tensor, how: Any) -> Tensor:
        out = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out, how)
        self.payload["reduced"] += out.numel() * out.element_size()
        return out


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, exchange: Exchange) -> Tensor:
        return exchange.total(part)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shared: Tensor, exchange: Exchange) -> Tensor:
        ctx.exchange = exchange
        return shared.view_as(shared)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.exchange.total(grads[0]), None
