"""What a figure module returns, and how it is written: figures in any format, the data plotted, tables."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from expander_theory.base import require_choice
from expander_theory.results import atomic_write, csv_bytes, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
Format = Literal["png", "pdf", "svg"]
FORMATS: tuple[Format, ...] = get_args(Format)

_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
}
"""What would differ between two runs on the same data."""


@dataclass(frozen=True)
class Table:
    """Rows of one shape, a title, and a note that says what they mean."""

    title: str
    rows: Rows
    note: str


@dataclass(frozen=True)
class Drawing:
    """Everything that one figure module makes of stored results.

    Attributes:
        figures: by file name (without ending).
        data: exactly what is plotted, by file name.
        tables: by file name.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    data: Mapping[str, Rows] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)

    def data_files(self) -> dict[str, bytes]:
        """Data and tables by path below the folder of figures, without rendering anything."""
        files = {f"{name}.csv": csv_bytes(rows) for name, rows in self.data.items() if rows}
        for name, shown in self.tables.items():
            if shown.rows:
                text = f"# {shown.title}\n\n{table(shown.rows)}\n\n{shown.note}\n"
                files |= {f"tables/{name}.md": text.encode(), f"tables/{name}.csv": csv_bytes(shown.rows)}
        return files

    def images(self, formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Rendered figures by path: the same data give the same bytes with one version of matplotlib."""
        for name, figure in self.figures.items():
            _lay_out(figure)
            for kind in formats:
                require_choice("format", kind, FORMATS)
                image = io.BytesIO()
                figure.savefig(image, format=kind, metadata=_METADATA[kind])
                yield f"{name}.{kind}", image.getvalue()

    def files(self, formats: Sequence[str]) -> dict[str, bytes]:
        """All that is written."""
        return {**dict(self.images(formats)), **self.data_files()}


def _lay_out(figure: Figure) -> None:
    """Once, as for a PNG: ``savefig`` would do it again for every format, which takes as long as rendering."""
    from matplotlib import rcParams
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.set_dpi(rcParams["savefig.dpi"])
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def write(drawing: Drawing, out: Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write everything below a folder; returns the files."""
    paths = []
    for name, content in drawing.files(formats).items():
        atomic_write(out / name, content)
        paths.append(out / name)
    return paths
