"""``expander report``: one self-contained page: claims with verdicts, figures, tables, certificates, provenance."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, TypedDict

from expander_theory.base import InvalidFile
from expander_theory.commands.theory.certify import best
from expander_theory.plotting import Drawings, all_drawings, readable
from expander_theory.results import Count, Size, atomic_write, files_below, read_contents, read_json, typed
from paper_figures.claims import CLAIMS, Claim, Finding, claims_markdown, findings
from paper_figures.report import interactive

PAGE, CLAIMS_FILE = "index.html", "claims.md"
_MOST_ROWS = 60
"""Of a table on the page; all are in its CSV."""


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page on stored results: claims, figures, tables, provenance; simulates nothing."""

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
        drawn: what :func:`paper_figures.drawing.sources.all_drawings` gave for the results, if it has been called.

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
        page = _page(results, drawn, found)
    atomic_write(out / PAGE, page.encode())
    atomic_write(out / CLAIMS_FILE, claims_markdown(found).encode())
    return _summary(found, out)


def written_report(results: Path, out: Path) -> str | None:
    """What :func:`write_report` returned, if it has been called and its claims are still what the results say."""
    if not (out / PAGE).is_file() or not (out / CLAIMS_FILE).is_file():
        return None
    found = findings(results)
    same = (out / CLAIMS_FILE).read_bytes() == claims_markdown(found).encode()
    return _summary(found, out) if same else None


Findings = Mapping[str, Finding]


def _summary(found: Findings, out: Path) -> str:
    verdicts = [f"  {name}: {finding.verdict}" for name, finding in found.items()]
    return "\n".join(["Claims:", *verdicts, f"Report: {out / PAGE}, {out / CLAIMS_FILE}"])


def _page(results: Path, drawings: Drawings, found: Findings) -> str:
    template = files("paper_figures.report").joinpath("report.html").read_text(encoding="utf-8")
    shown = {name for claim in CLAIMS for name in claim.figures}
    others = [name for name in drawings if name not in shown]
    parts = {
        "CLAIMS": _claims_table(found),
        "SECTIONS": "".join(_claim(claim, found[claim.name], drawings) for claim in CLAIMS),
        "OTHERS": "".join(_figure(name, drawings) for name in others),
        "CERTIFICATES": _certificates(results),
        "RUNS": "".join(_run(results, path) for path in _ledgers(drawings)),
    }
    for name, content in parts.items():
        template = template.replace(f"<!--{name}-->", content)
    return template


def _claims_table(found: Findings) -> str:
    rows = []
    for claim in CLAIMS:
        verdict = found[claim.name].verdict
        badge = f'<span class="verdict {verdict.replace(" ", "-")}">{verdict}</span>'
        link = f'<a href="#{_slug(claim.name)}">{escape(claim.text)}</a>'
        rows.append(f"<tr><td>{link}</td><td>{badge}</td><td>{escape(claim.source)}</td></tr>")
    return f"<table><thead><tr><th>claim</th><th>verdict</th><th>source</th></tr></thead>{''.join(rows)}</table>"


def _claim(claim: Claim, found: Finding, drawings: Drawings) -> str:
    numbers = "".join(f"<li>{escape(number)}</li>" for number in found.numbers if number)
    verdict = f'<span class="verdict {found.verdict.replace(" ", "-")}">{found.verdict}</span>'
    scale = f"<p class=quiet>Scale: {escape(found.scale)}.</p>" if found.scale else ""
    rule = f"<p class=quiet>Counts as supported if: {escape(claim.rule)}. Made by <code>{claim.experiment}</code>.</p>"
    live = "".join(_live(name, drawings) for name in claim.figures)
    figures = "".join(_figure(name, drawings) for name in claim.figures if name in drawings)
    head = f'<section id="{_slug(claim.name)}"><h2>{escape(claim.text)} {verdict}</h2>'
    return f"{head}<ul>{numbers}</ul>{scale}{rule}{live}{figures}</section>"


def _live(name: str, drawings: Drawings) -> str:
    """The interactive version of a figure, where there is one."""
    if name not in drawings:
        return ""
    ledger = drawings[name][0][0]
    if name == "phase_diagram":
        inside = "".join(interactive.phase_diagrams(ledger))
    elif name == "storage_frontier":
        inside = interactive.frontier(ledger) or ""
    else:
        return ""
    hint = "Hover over, tap or focus a cell or point for its counts and interval."
    return f'<p class=quiet>{hint}</p><div class="grid">{inside}</div>' if inside else ""


def _figure(name: str, drawings: Drawings) -> str:
    drawing = drawings[name][1]
    parts = []
    for path, image in drawing.images(["svg"]):
        stem = path.removesuffix(".svg")
        data = base64.b64encode(image).decode()
        alt = escape(f"Figure: {stem.replace('_', ' ')}")
        parts.append(
            f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}"><figcaption>{stem}</figcaption></figure>'
        )
    for shown in drawing.tables.values():
        if shown.rows:
            parts.append(_table(shown.title, shown.rows, shown.note))
    return "".join(parts)


def _table(title: str, rows: Sequence[Mapping[str, Any]], note: str) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(v)}</td>" for v in row.values()) + "</tr>" for row in rows[:_MOST_ROWS]
    )
    more = f"<p class=quiet>{len(rows) - _MOST_ROWS} more rows in its CSV.</p>" if len(rows) > _MOST_ROWS else ""
    inside = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'
    return f"<details><summary>{escape(title)}</summary>{inside}<p class=quiet>{_text(note)}</p></details>"


def _text(note: str) -> str:
    """Plain text as HTML, with what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(note))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


class _Sizes(TypedDict):
    m: Size
    n: Size
    d: Size


class _Claim(TypedDict):
    goal: str
    states: str
    theorem: str
    k: Count


class _Certificate(TypedDict):
    """What the table shows of a certificate; :func:`expander_theory.certificates.check` reads all of it."""

    dictionary: _Sizes
    claims: list[_Claim]


def _certificates(results: Path) -> str:
    """Certificates (``expander certify --out``) that lie anywhere in the results."""
    rows = []
    for path in files_below(results, (".json",)):
        try:
            content = read_json(path, dict[str, Any])
            if content.get("format") != "expander-certificate":
                continue
            size = typed(path, content, _Certificate)["dictionary"]
        except InvalidFile as error:
            if b"expander-certificate" in path.read_bytes():  # other files are not ours to judge
                rows.append({"certificate": str(path.relative_to(results)), "proved": f"unreadable: {error.problem}"})
            continue
        about = {key: size[key] for key in ("m", "n", "d")}
        rows.append({"certificate": str(path.relative_to(results)), **about, "proved": "; ".join(best(content))})
    if not rows:
        return "<p class=quiet>None in these results; <code>expander certify W.safetensors --out cert.json</code>.</p>"
    rows = [{name: row.get(name) for name in ("certificate", "m", "n", "d", "proved")} for row in rows]
    return _table("Certificates", rows, "Exact rationals; `expander check-certificate` recomputes all of it.")


def _ledgers(drawings: Drawings) -> Iterator[Path]:
    yield from dict.fromkeys(path for paths, _ in drawings.values() for path in paths)


def _run(results: Path, path: Path) -> str:
    contents = read_contents(path)
    name = str(path.relative_to(results))
    configuration = escape(json.dumps(contents.identity, indent=1, sort_keys=True))
    signed = "".join(f"<li>{_provenance(entry)}</li>" for entry in contents.provenance)
    kind = escape(str(contents.identity.get("kind", "")))
    head = f"<summary>{escape(name)}: {kind}, {len(contents.records)} records</summary>"
    digest = f"<p class=quiet>SHA-256 of the records: <code>{contents.sha256}</code></p>"
    return f"<details>{head}{digest}<ul>{signed}</ul><pre>{configuration}</pre></details>"


def _provenance(entry: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in entry.get("packages", {}).items())
    parts = [entry.get("time"), f"commit {entry.get('commit')}", entry.get("python"), packages, entry.get("processor")]
    return escape("; ".join(str(part) for part in parts if part))


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
