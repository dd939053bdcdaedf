"""JSON from a file, parsed and held to a type once, at the boundary: what is wrong is said by file, line and field."""

from __future__ import annotations

import json
import math
import os
import re
from typing import Annotated, Any, NoReturn, TypeVar, cast

import msgspec

from expander_theory.base import InvalidFile

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Size = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Nonnegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Hex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

DEPTH = 100
"""Lists and objects inside one another; what this project writes has fewer than ten."""

T = TypeVar("T")
Where = str | os.PathLike[str]


def parsed(path: Where, text: str | bytes, where: str = "") -> Any:
    """The JSON value of a text: numbers are finite, keys differ, strings are Unicode, and it is not deep.

    Args:
        path: of the file, for the message.
        text: UTF-8.
        where: the place in the file, as "line 3".

    Raises:
        InvalidFile: no such JSON.
    """
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_object)
        marks = (b"[", b"{", b"\\u") if isinstance(text, bytes) else ("[", "{", "\\u")
        if text.count(marks[0]) + text.count(marks[1]) > DEPTH:  # type: ignore[arg-type]
            _require_shallow(value)
        if marks[2] in text:  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair can be neither printed nor written
        return value
    except RecursionError:
        problem = f"is nested more than {DEPTH} deep"
    except ValueError as error:  # also of bytes that are no UTF-8, and of integers of thousands of digits
        problem = f"is no JSON ({error})"
    raise InvalidFile(path, f"damaged: {f'{where} ' if where else ''}{problem}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return found


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise RecursionError


def read_json(path: Where, kind: type[T]) -> T:
    """The JSON value of a file, held to a type.

    Raises:
        InvalidFile: no such file, no JSON, or of another type; names the field.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidFile(path, "no such file") from None
    except IsADirectoryError:
        raise InvalidFile(path, "is a folder, expected a file") from None
    return typed(path, parsed(path, data), kind)


def typed(path: Where, value: Any, kind: type[T] | Any, where: str = "") -> T:
    """The value as it is, if it has the type: a TypedDict (further keys are allowed), or what msgspec knows.

    Args:
        path: of the file, for the message.
        value: as :func:`parsed` returns it.
        kind: the type; numbers are not taken for strings, nor strings, booleans or null for numbers.
        where: the place in the file, as "line 3".

    Raises:
        InvalidFile: another type; names the field and what it holds.
    """
    converted(path, value, kind, where)
    return cast(T, value)


def converted(path: Where, value: Any, kind: type[T] | Any, where: str = "") -> T:
    """What msgspec makes of the value for the type, such as a dataclass of an object; else as :func:`typed`.

    Raises:
        InvalidFile: another type; names the field and what it holds.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidFile(path, f"damaged: {f'{where}: ' if where else ''}{_plain(str(error))}") from None
    except RecursionError:
        raise InvalidFile(path, f"damaged: {where or 'it'} is nested too deeply") from None


def _plain(message: str) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.a`" with the field first."""
    problem, _, at = message.partition(" - at `$")
    problem = problem.replace("`", "")
    problem = problem[0].lower() + problem[1:]
    missing = re.fullmatch(r"object missing required field (.+)", problem)
    field = at.rstrip("`").lstrip(".")
    if missing:
        return f"it lacks {'.'.join(part for part in (field, missing[1]) if part)}"
    return f"{field}: {problem}" if field else problem


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value
