"""Copies of frozen objects that are as frozen as they."""

from dataclasses import fields
from typing import Any


class Immutable:
    """A frozen dataclass with read-only arrays and cached values: copies and pickles are made anew by its constructor.

    ``copy``, ``deepcopy`` and ``pickle`` would otherwise carry the cached values beside arrays that can be written.
    """

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
