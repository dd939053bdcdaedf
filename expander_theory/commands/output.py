"""What commands share: tables, and files that are not overwritten by accident.

Other wings are imported when they are needed: a list of commands loads this module, and must be quick.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of one shape as a Markdown table."""
    from tabulate import tabulate

    return tabulate([list(row.values()) for row in rows], list(rows[0]), tablefmt="github", floatfmt=".4g")


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of one shape as a CSV file, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows of one shape, with a header."""
    from expander_theory.results import atomic_write

    atomic_write(path, csv_bytes(rows))
    return path


def require_new(path: Path, force: bool) -> None:
    """Refuse to overwrite ``path`` unless ``force``."""
    from expander_theory.base import InvalidFile

    if path.exists() and not force:
        raise InvalidFile(path, "exists already; choose another name or pass --force")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    from expander_theory.results import atomic_write

    atomic_write(path, json.dumps(value, indent=2).encode() + b"\n")
