"""All that stored results allow, drawn into a folder with the data plotted and a manifest; and which of it is stale."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from expander_theory.base import ExpanderTheoryError, InvalidFile, require_choice
from expander_theory.plotting._axes import require_matplotlib
from expander_theory.plotting.drawings import _manifest as manifest
from expander_theory.plotting.drawings.output import FORMATS, Drawing
from expander_theory.plotting.drawings.sources import Drawings, Source, figure_sources
from expander_theory.results import atomic_write, locked


class Stale(ExpanderTheoryError):
    """Figures are not what their results would give now; the text says which and why."""


def figures_folder(results: Path) -> Path:
    """Where the figures of a results folder, or of one file of results, are by default."""
    return (results if results.is_dir() else results.parent) / "figures"


def draw_all(
    results: Path,
    out: Path | None = None,
    names: Sequence[str] = (),
    formats: Sequence[str] = ("png", "pdf"),
    drawn: Drawings | None = None,
) -> str:
    """Draw figures into a folder; returns a list of the files for people.

    Args:
        results: folder of ledgers, or one ledger or JSON file of results.
        out: None for :func:`figures_folder`.
        names: of figures; empty for all that the results allow.
        formats: of the images.
        drawn: what :func:`expander_theory.plotting.all_drawings` gave for the results, if it has been called.

    Raises:
        InvalidArgument: an unknown name or format.
        InvalidFile: no such results, none that can be drawn, or not those that a named figure needs; or another
            process draws into the same folder.
        MissingResource: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib import rc_context

    out = figures_folder(results) if out is None else out
    for kind in formats:
        require_choice("format", kind, FORMATS)
    with rc_context():  # drawing sets the style of its figures
        return _draw(results, out, _chosen(results, names), bool(names), formats, drawn)


def _draw(
    results: Path, out: Path, sources: list[Source], asked: bool, formats: Sequence[str], drawn: Drawings | None
) -> str:
    lines, absent = [], []
    drawings: dict[str, tuple[list[Path], Drawing]] = {}
    for source in sources:
        found = source.found(results) if drawn is None else drawn.get(source.name)
        if found is None:
            absent.append(f"  {source.name}: no results; they are made by {source.made_by}")
        else:
            drawings[source.name] = found
    if not drawings:
        help_text = "\n".join(["", *absent]) if asked else "; `expander sweep` writes a ledger that can be drawn"
        raise InvalidFile(results, f"holds no results to draw{help_text}")
    with locked(out, "is drawing figures into it", out / ".figures.lock"):  # the manifest is read, changed and written
        entries = manifest.read(out)
        for name, found in drawings.items():
            files = found[1].files(formats)
            for place, content in files.items():
                atomic_write(out / place, content)
                lines.append(f"  {out / place}")
            entries[name] = manifest.entry(results, *found, files)
        known = figure_sources()
        path = manifest.write(out, {name: value for name, value in entries.items() if name in known})
    return "\n".join(["Figures and tables:", *lines, f"  {path}", *(["Not drawn:", *absent] if absent else [])])


def check_all(results: Path, out: Path, names: Sequence[str] = ()) -> str:
    """Says that every figure in a folder is what the results give now.

    Raises:
        InvalidArgument: an unknown name.
        InvalidFile: no such results.
        Stale: some are not.
        MissingResource: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib import rc_context

    entries, fresh, stale = manifest.read(out), [], []
    for source in _chosen(results, names):
        try:
            with rc_context():
                reasons = list(manifest.staleness(source, results, out, entries))
        except InvalidFile as error:  # one damaged ledger does not keep the others from being checked
            reasons = [str(error)]
        stale += [f"  {source.name}: {reason}" for reason in reasons]
        if not reasons and source.name in entries:
            fresh.append(source.name)
    if stale:
        elsewhere = [] if out == figures_folder(results) else ["--out", str(out)]
        again = shlex.join(["expander", "figures", "--results", str(results), *elsewhere])
        raise Stale("\n".join(["stale figures:", *stale, f"`{again}` draws them again"]))
    return f"{len(fresh)} figures are what {results} gives: {', '.join(fresh)}"


def _chosen(results: Path, names: Sequence[str]) -> list[Source]:
    known = figure_sources()
    for name in names:
        require_choice("names", name, tuple(known))
    if not results.exists():
        raise InvalidFile(results, "no such results: `expander sweep` writes some")
    return [known[name] for name in names or known]


def draw_named(results: Path, *names: str) -> str:
    """:func:`draw_all` for some figures: those that the results do not allow yet are left out without an error."""
    sources = [source for source in _chosen(results, names) if source.found(results) is not None]
    return draw_all(results, names=[source.name for source in sources]) if sources else "Nothing to draw yet."
