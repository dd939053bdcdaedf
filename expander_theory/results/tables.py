"""Rows of one shape as tables for people and as CSV files."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expander_theory.results.files import atomic_write


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
    """Write rows of one shape as a CSV file with a header, atomically; returns the path."""
    atomic_write(path, csv_bytes(rows))
    return path
