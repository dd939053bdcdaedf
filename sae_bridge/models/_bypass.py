"""Running a model without its lower blocks, and without a graph of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within it, no parameter of the model enters a graph."""
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)


@contextmanager
def bypassed(blocks: Sequence[nn.Module], returns: int | None) -> Iterator[None]:
    """Within it, the blocks hand on what they are given, in a tuple of length ``returns`` (None: as it is)."""

    def hand_on(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return hidden if returns is None else (hidden, *[None] * (returns - 1))

    # an instance's own forward goes before its class's; some libraries have put one there already
    own = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = hand_on
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            block.__dict__.pop("forward", None)
            if forward is not None:
                block.forward = forward
