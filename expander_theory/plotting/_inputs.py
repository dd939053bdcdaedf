"""What plots and data frames take: paths of ledgers and of files that commands write, and objects, told apart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.results import find_ledger, parsed, read_ledger
from expander_theory.simulation import Cell, cells

Row = dict[str, Any]
Place = str | os.PathLike[str]
Stored = Literal["certificate", "sampled", "rates", "evaluations"]
"""What a JSON file of a command holds: of ``certify``, ``certify --sampled``, ``recover``, ``sae eval``."""

_MOST_BYTES = 2**28


def is_place(value: object) -> bool:
    """Whether a value is the path of a file or folder."""
    return isinstance(value, str | os.PathLike)


def field(row: Any, name: str) -> Any:
    """A field of a record or of a row; None where it has none of the name."""
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def stored_records(path: Place) -> list[Any]:
    """The records of a ledger, or of the one ledger in a folder."""
    return list(read_ledger(find_ledger(path))[1])


def cells_of(path: Place) -> list[Cell]:
    """The cells of a sweep's ledger.

    Raises:
        InvalidFile: no such ledger, or one without trials.
    """
    found = [cell for cell in cells(stored_records(path)) if cell.trials]
    if not found:
        raise InvalidFile(path, "holds no trials of a sweep; `expander sweep` writes a ledger that does")
    return found


def listed(name: str, values: Any, allowed: str) -> list[Any]:
    """The items of a sequence that holds at least one.

    Raises:
        InvalidArgument: it is none, or empty.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgument(name, f"a {type(values).__name__}", f"must be {allowed}")
    found = list(values)
    if not found:
        raise InvalidArgument(name, "empty", f"must be {allowed}, at least one")
    return found


def as_row(name: str, value: Any, needs: Sequence[str], allowed: str) -> Row:
    """A record as a dictionary that has the keys ``needs``.

    Raises:
        InvalidArgument: it is no mapping or dataclass, or lacks one of them.
    """
    if isinstance(value, Mapping):
        row = dict(value)
    elif is_dataclass(value) and not isinstance(value, type):
        row = {part.name: getattr(value, part.name) for part in fields(value)}
    else:
        raise InvalidArgument(name, f"holds a {type(value).__name__}", f"must be {allowed}")
    lacking = [key for key in needs if key not in row]
    if lacking:
        raise InvalidArgument(name, f"holds a record without {lacking[0]!r}", f"must be {allowed}")
    return row


def stored_json(path: Place) -> tuple[Stored | None, Any]:
    """What a JSON file holds, as far as a command of this project wrote it, and its value.

    Raises:
        InvalidFile: no such file, or no JSON.
    """
    place = Path(path)
    if not place.is_file():
        raise InvalidFile(path, "no such file")
    if place.stat().st_size > _MOST_BYTES:
        raise InvalidFile(path, f"is larger than {_MOST_BYTES} bytes, which no command writes")
    value = parsed(path, place.read_bytes())
    if isinstance(value, dict):
        if value.get("format") == "expander-sampled-certificate" and isinstance(value.get("curve"), list):
            return "sampled", value
        whole = isinstance(value.get("dictionary"), dict) and isinstance(value.get("claims"), list)
        return "certificate" if value.get("format") == "expander-certificate" and whole else None, value
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        if all({"k", "trials", "successes"} <= row.keys() for row in value):
            return "rates", value
        if all({"name", "fvu", "decoder_values"} <= row.keys() for row in value):
            return "evaluations", value
    return None, value


def rows_of_json(path: Place, kind: Stored, made_by: str) -> list[Row]:
    """The rows of a JSON file of one kind (of a certificate, the one).

    Raises:
        InvalidFile: it holds something else.
    """
    found, value = stored_json(path)
    if found != kind:
        raise InvalidFile(path, f"holds no {kind}; `{made_by}` writes such a file")
    return value if isinstance(value, list) else [value]


def is_json(path: Place) -> bool:
    """Whether a path is that of a JSON file, and so of no ledger."""
    return Path(path).suffix == ".json"
