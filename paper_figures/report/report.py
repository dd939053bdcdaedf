"""``expander report``: one self-contained page: claims with verdicts, figures, tables, certificates, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from expander_theory.base import InvalidFile
from expander_theory.plotting import Drawings, all_drawings, readable
from expander_theory.results import atomic_write
from paper_figures.claims import Finding, claims_markdown, findings
from paper_figures.report.page import page

PAGE, CLAIMS_FILE = "index.html", "claims.md"


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page on stored results.

    Claims, figures, tables, provenance; nothing is simulated.
    """

    results: Path = Path("results")
    """Folder of `expander reproduce`, or of any experiments."""
    out: Path | None = None
    """Folder for `index.html` and `claims.md` (default: `report` in the results folder)."""

    def run(self) -> None:
        out = self.results / "report" if self.out is None else self.out
        print(write_report(self.results, out))


def write_report(results: Path, out: Path, drawn: Drawings | None = None) -> str:
    """Write the page and the table of claims; returns what was found, for people.

    Args:
        results: folder of ledgers.
        out: folder of the page.
        drawn: what :func:`expander_theory.plotting.all_drawings` gave for the results, if it has been called.

    Raises:
        InvalidFile: no such folder, or one without any results.
    """
    if not results.is_dir():
        raise InvalidFile(results, "no such results folder: run `expander reproduce` first")
    drawn = all_drawings(results) if drawn is None else drawn
    if not drawn:
        raise InvalidFile(results, "holds no results to report: run `expander reproduce` first")
    found = findings(results)
    with readable([results], "the report"):
        content = page(results, drawn, found)
    atomic_write(out / PAGE, content.encode())
    atomic_write(out / CLAIMS_FILE, claims_markdown(found).encode())
    return _summary(found, out)


def written_report(results: Path, out: Path) -> str | None:
    """What :func:`write_report` returned, if it has been called and its claims are still what the results say."""
    if not (out / PAGE).is_file() or not (out / CLAIMS_FILE).is_file():
        return None
    found = findings(results)
    same = (out / CLAIMS_FILE).read_bytes() == claims_markdown(found).encode()
    return _summary(found, out) if same else None


def _summary(found: Mapping[str, Finding], out: Path) -> str:
    verdicts = [f"  {name}: {finding.verdict}" for name, finding in found.items()]
    return "\n".join(["Claims:", *verdicts, f"Report: {out / PAGE}, {out / CLAIMS_FILE}"])
