"""Copies of frozen objects that are as frozen as they."""

from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

Made = TypeVar("Made", bound="Immutable")


class Immutable:
    """A frozen dataclass with read-only arrays and cached values: copies and pickles are made anew by its constructor.

    ``copy``, ``deepcopy`` and ``pickle`` would otherwise carry the cached values beside arrays that can be written.
    """

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


def unchecked(kind: type[Made], **attributes: Any) -> Made:
    """An object with all its attributes given and right by construction, made without the checks of its constructor.

    For masks and dictionaries that are drawn: checking them would take as long as drawing them. Arrays become
    read-only.
    """
    made = object.__new__(kind)
    for name, value in attributes.items():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(made, name, value)
    return made
