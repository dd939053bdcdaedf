"""Data of figures as CSV, tables as Markdown and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expander_theory.commands.output import table
from expander_theory.files import atomic_write

Rows = Sequence[Mapping[str, Any]]


def write_csv(path: Path, rows: Rows) -> Path:
    """Rows of one shape, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, text.getvalue().encode())
    return path


def write_table(path: Path, title: str, rows: Rows, note: str) -> list[Path]:
    """The same rows as ``path``.md (title, table, note) and ``path``.csv."""
    markdown = path.with_suffix(".md")
    atomic_write(markdown, f"# {title}\n\n{table(rows)}\n\n{note}\n".encode())
    return [markdown, write_csv(path.with_suffix(".csv"), rows)]
