"""Errors that the user can act on. The command line prints their text and exits with code 2."""

import operator
from collections.abc import Sequence
from typing import Any


class ExpanderTheoryError(Exception):
    """Base of every error raised on purpose by this project."""


class InvalidArgument(ExpanderTheoryError, ValueError):
    """An argument outside its allowed range; the text names it, its value and what is allowed."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name} = {_short(value)}: {allowed}")
        self.name, self.value, self.allowed = name, value, allowed

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.name, _short(self.value), self.allowed)  # it crosses process borders


def _short(value: object, most: int = 500) -> str:
    """A value from a damaged file may be of any length."""
    try:
        text = str(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return f"({type(value).__name__} of more digits than Python prints)"
    return text if len(text) <= most else f"{text[: most // 2]}... ({len(text)} characters)"


class InvalidFile(ExpanderTheoryError):
    """A file or folder that cannot be used: truncated, altered, too new, or of another kind."""

    def __init__(self, path: object, problem: str) -> None:
        problem = _short(problem, 2000)
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self.path), self.problem)


class MissingResource(ExpanderTheoryError):
    """Something that is not installed; the text names the command that installs it."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise :class:`InvalidArgument` unless ``condition`` holds."""
    if not condition:
        raise InvalidArgument(name, value, allowed)


def require_int(name: str, value: Any) -> int:
    """The value as a plain int, or :class:`InvalidArgument` if it is none."""
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidArgument(name, repr(value), "must be an integer") from None


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise :class:`InvalidArgument` unless ``value`` is one of ``choices``."""
    require(value in choices, name, repr(value), f"must be one of {', '.join(choices)}")


def require_real(name: str, value: Any) -> float:
    """The value as a float, or :class:`InvalidArgument` if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidArgument(name, repr(value), "must be a number") from None
