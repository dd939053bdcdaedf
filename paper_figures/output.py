"""Tables as Markdown and CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expander_theory.commands.output import table, write_csv
from expander_theory.files import atomic_write

Rows = Sequence[Mapping[str, Any]]


def write_table(path: Path, title: str, rows: Rows, note: str) -> list[Path]:
    """The same rows as ``path``.md (title, table, note) and ``path``.csv."""
    markdown = path.with_suffix(".md")
    atomic_write(markdown, f"# {title}\n\n{table(rows)}\n\n{note}\n".encode())
    return [markdown, write_csv(path.with_suffix(".csv"), rows)]
