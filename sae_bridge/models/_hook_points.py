"""A tensor in a model that can be read and replaced: what a module reads or returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

_resting: ContextVar[bool] = ContextVar("resting", default=False)


@dataclass(frozen=True)
class HookPoint:
    """The input or the output of a module.

    Attributes:
        module: the module.
        side: "input", its hidden states; "output", the first where it returns several.
        width: of the last axis.
        flat: whether the model has it as (batch * context, width) instead of (batch, context, width).
    """

    module: nn.Module
    side: Literal["input", "output"]
    width: int
    flat: bool = False

    @contextmanager
    def changed(self, block: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within it, the tensor is replaced by ``change`` of it, both (batch, context, width).

        Args:
            block: the decoder block that the module is, or is part of.
            change: of the tensor; what is itself given back stays as it is.
        """
        shape: list[int] = []

        def note(_: nn.Module, args: Any, kwargs: Any) -> None:
            shape[:] = argument(args, kwargs)[1].shape[:2]

        def new(old: Tensor) -> Tensor:
            if _resting.get():
                return old
            seen = old.reshape(*shape, -1) if self.flat else old
            put = change(seen)
            # A block may go on in place (Falcon's does), and shall not do so in a tensor of the caller's.
            return old if put is seen else put.clone().reshape(old.shape)

        def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
            place, old = argument(args, kwargs)
            if isinstance(place, str):
                return args, {**kwargs, place: new(old)}
            return (new(old), *args[1:]), kwargs

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            if isinstance(output, (tuple, list)):
                return type(output)((new(output[0]), *output[1:]))
            return new(output)

        with ExitStack() as stack:
            if self.flat:
                stack.callback(block.register_forward_pre_hook(note, with_kwargs=True).remove)
            if self.side == "input":
                handle = self.module.register_forward_pre_hook(before, with_kwargs=True)
            else:
                handle = self.module.register_forward_hook(after)
            stack.callback(handle.remove)
            yield


@contextmanager
def unchanged() -> Iterator[None]:
    """Within it, no hook point is replaced, whatever lies around it: for a look at the model itself."""
    token = _resting.set(True)
    try:
        yield
    finally:
        _resting.reset(token)


def argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int | str, Tensor]:
    """Position (0) or name, and value, of the hidden states among a module's arguments.

    Raises:
        LookupError: no tensor there.
    """
    if args and isinstance(args[0], Tensor):
        return 0, args[0]
    for name in ("hidden_states", *kwargs):
        if isinstance(kwargs.get(name), Tensor):
            return name, kwargs[name]
    raise LookupError("no tensor among the arguments")


def first(output: Any) -> Any:
    """The hidden states among what a module returns: the first, where it returns several things."""
    return output[0] if isinstance(output, (tuple, list)) and output else output
