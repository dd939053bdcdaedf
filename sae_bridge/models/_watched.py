"""One run of a decoder block, with all that its submodules read and return written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sae_bridge.models._hook_points import HookPoint, argument, first

_SCALE = 0.1
"""Of the random residual stream: large for the norms, small enough that float32 shows what is added to it."""


@dataclass(eq=False)
class Call:
    """A call of a submodule.

    Attributes:
        name, module: inside the block.
        input, output: copies (batch * context, width); None: no such tensor.
        flat_input, flat_output: whether they came with two axes.
    """

    name: str
    module: nn.Module
    input: Tensor | None = None
    output: Tensor | None = None
    flat_input: bool = False
    flat_output: bool = False

    def inside(self, part: str) -> bool:
        """Whether it is a call of a module, by name, or of one in it."""
        return self.name == part or self.name.startswith(f"{part}.")

    @property
    def linear(self) -> bool:
        """Whether the module has a matrix of its own: ``nn.Linear``, ``Conv1D``, and what else multiplies by one."""
        weight = getattr(self.module, "weight", None)
        return isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(self.module, nn.Embedding)

    def read(self) -> HookPoint | None:
        """What it reads, if that is a row for each token."""
        return (
            self.input if self.input is None else HookPoint(self.module, "input", self.input.shape[-1], self.flat_input)
        )

    def returned(self) -> HookPoint | None:
        """What it returns, if that is a row for each token."""
        return (
            self.output
            if self.output is None
            else HookPoint(self.module, "output", self.output.shape[-1], self.flat_output)
        )


@dataclass(frozen=True)
class Run:
    """A run of a block.

    Attributes:
        before, after: the residual stream (batch * context, m), float32 on the CPU.
        calls: of the submodules, in the order in which they returned.
    """

    before: Tensor
    after: Tensor
    calls: tuple[Call, ...]


@torch.no_grad()
def watched(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run:
    """Run a block on a random residual stream, in float32 whatever the dtype of its weights, which stay as they are.

    Args:
        args, kwargs: of a call of the block; the hidden states among them are replaced.

    Raises:
        LookupError: no hidden states among them.
    """
    where, hidden = argument(args, kwargs)
    stream = (_SCALE * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))).to(hidden.device)
    before, tokens = _rows(stream), stream[..., 0].numel()
    inputs, named = _float32(args), _float32(dict(kwargs))
    if isinstance(where, str):
        named[where] = stream
    else:
        inputs = (stream, *inputs[1:])
    own = dict([*block.named_parameters(), *block.named_buffers()])
    weights = {name: value.float() for name, value in own.items() if value.is_floating_point()}
    calls: list[Call] = []
    with _noting(block, tokens, calls):
        output = torch.func.functional_call(block, weights, inputs, named)
    return Run(before, _rows(first(output)), tuple(calls))


@contextmanager
def _noting(block: nn.Module, tokens: int, calls: list[Call]) -> Iterator[None]:
    """Within it, calls of the block's submodules are written down as they return."""
    running: list[Call] = []

    def enter(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        running.append(call := Call(name, module))
        with suppress(LookupError):
            call.input, call.flat_input = _look(argument(args, kwargs)[1], tokens)

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        calls.append(call := running.pop())
        call.output, call.flat_output = _look(first(output), tokens)

    handles: list[Any] = []
    for name, module in block.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(partial(enter, name), with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _look(value: Any, tokens: int) -> tuple[Tensor | None, bool]:
    """A copy with a row for each token, and whether it came so; None of what else a module gives."""
    plain = isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (2, 3)
    if not plain or value[..., 0].numel() != tokens:
        return None, False
    return _rows(value), value.ndim == 2


def _rows(hidden: Tensor) -> Tensor:
    """A copy (batch * context, width): blocks go on in place."""
    return hidden.detach().reshape(-1, hidden.shape[-1]).float().cpu().clone()


def _float32(value: Any) -> Any:
    """Tensors of floating point in float32, in whatever they lie."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, (tuple, list)):
        return type(value)(map(_float32, value))
    if isinstance(value, dict):
        return {key: _float32(one) for key, one in value.items()}
    return value
