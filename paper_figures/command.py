"""``expander figures``: everything that stored results allow, with the data plotted and a manifest; never simulates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from expander_theory.base import ExpanderTheoryError, InvalidFile, require_choice
from expander_theory.results import atomic_write, locked

if TYPE_CHECKING:
    from paper_figures.drawing.output import Drawing
    from paper_figures.drawing.sources import Drawings, Source


class Stale(ExpanderTheoryError):
    """Figures are not what their results would give now; the text says which and why."""


@dataclass(frozen=True)
class Figures:
    """Draw the figures and tables that stored results allow; nothing is simulated.

    Beside each figure: the data plotted, as CSV. `manifest.json` says which ledgers, data and files belong together.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Figures to draw (default: all that the results allow)."""
    results: Path = Path("results")
    """Folder of `expander reproduce`, or of any experiment."""
    out: Path | None = None
    """Folder for the files (default: `figures` in the results folder)."""
    format: str = "png,pdf"
    """Of png, pdf and svg, separated by commas."""
    check: bool = False
    """Draw nothing; say which figures are stale, and why; fails if any is."""

    def run(self) -> None:
        out = self.results / "figures" if self.out is None else self.out
        if self.check:
            print(check_all(self.results, out, self.names))
        else:
            print(draw_all(self.results, out, self.names, tuple(self.format.split(","))))


def draw_all(
    results: Path,
    out: Path | None = None,
    names: Sequence[str] = (),
    formats: Sequence[str] = ("png", "pdf"),
    drawn: Drawings | None = None,
) -> str:
    """Draw figures into a folder; returns a list of the files for people.

    Args:
        results: folder of ledgers.
        out: None for ``results / "figures"``.
        names: of figures; empty for all that the results allow.
        formats: of the images.
        drawn: what :func:`paper_figures.drawing.sources.all_drawings` gave for the results, if it has been called.

    Raises:
        InvalidArgument: an unknown name or format.
        InvalidFile: no such folder, one without any results, or without those that a named figure needs; or another
            process draws into the same folder.
    """
    from paper_figures.drawing import manifest
    from paper_figures.drawing.output import FORMATS
    from paper_figures.drawing.sources import SOURCES

    out = results / "figures" if out is None else out
    for kind in formats:
        require_choice("format", kind, FORMATS)
    sources = _chosen(results, names)
    lines, absent = [], []
    drawings: dict[str, tuple[list[Path], Drawing]] = {}
    for source in sources:
        found = source.found(results) if drawn is None else drawn.get(source.name)
        if found is None:
            absent.append(f"  {source.name}: no results; they are made by {source.made_by}")
        else:
            drawings[source.name] = found
    if not drawings:
        asked = "".join(f"\n{line}" for line in absent) if names else "; run `expander reproduce` first"
        raise InvalidFile(results, f"holds no results to draw{asked}")
    with locked(out, "is drawing figures into it", out / ".figures.lock"):  # the manifest is read, changed and written
        entries = manifest.read(out)
        for name, found in drawings.items():
            files = found[1].files(formats)
            for place, content in files.items():
                atomic_write(out / place, content)
                lines.append(f"  {out / place}")
            entries[name] = manifest.entry(results, *found, files)
        path = manifest.write(out, {name: value for name, value in entries.items() if name in SOURCES})
    return "\n".join(["Figures and tables:", *lines, f"  {path}", *(["Not drawn:", *absent] if absent else [])])


def check_all(results: Path, out: Path, names: Sequence[str] = ()) -> str:
    """Says that every figure in a folder is what the results give now.

    Raises:
        InvalidArgument: an unknown name.
        InvalidFile: no such folder.
        Stale: some are not.
    """
    from paper_figures.drawing import manifest

    entries, fresh, stale = manifest.read(out), [], []
    for source in _chosen(results, names):
        try:
            reasons = list(manifest.staleness(source, results, out, entries))
        except InvalidFile as error:  # one damaged ledger does not keep the others from being checked
            reasons = [str(error)]
        stale += [f"  {source.name}: {reason}" for reason in reasons]
        if not reasons and source.name in entries:
            fresh.append(source.name)
    if stale:
        elsewhere = "" if out == results / "figures" else f" --out {out}"
        again = f"`expander figures --results {results}{elsewhere}` draws them again"
        raise Stale("\n".join(["stale figures:", *stale, again]))
    return f"{len(fresh)} figures are what {results} gives: {', '.join(fresh)}"


def _chosen(results: Path, names: Sequence[str]) -> list[Source]:
    from paper_figures.drawing.sources import SOURCES

    for name in names:
        require_choice("names", name, tuple(SOURCES))
    if not results.is_dir():
        raise InvalidFile(results, "no such results folder: run `expander reproduce` first")
    return [SOURCES[name] for name in names or SOURCES]


def draw_named(results: Path, *names: str) -> str:
    """:func:`draw_all` for some figures: those that the results do not allow yet are left out without an error."""
    sources = [source for source in _chosen(results, names) if source.found(results) is not None]
    return draw_all(results, names=[source.name for source in sources]) if sources else "Nothing to draw yet."
