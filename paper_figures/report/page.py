"""What the page of results shows, handed to its template."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from jinja2 import Environment, PackageLoader, StrictUndefined

from expander_theory.base import InvalidFile
from expander_theory.certificates import best_claims
from expander_theory.plotting import Drawings, Table
from expander_theory.results import Count, Size, files_below, read_contents, read_json, typed
from paper_figures.claims import CLAIMS, Finding
from paper_figures.report.interactive import frontier, phase_diagrams

_MOST_ROWS = 60
"""Of a table on the page; all are in its CSV."""
_LIVE = {"phase_diagram": phase_diagrams, "storage_frontier": frontier}
"""Interactive versions of figures, from the figure's ledger."""


def page(results: Path, drawings: Drawings, found: Mapping[str, Finding]) -> str:
    """The page as HTML: the same results give the same text.

    Args:
        results: folder of ledgers.
        drawings: all that the results allow.
        found: what the results say of each claim, by its name.
    """
    filters = {
        "base64": lambda image: base64.b64encode(image).decode(),
        "by_backticks": lambda text: re.split(r"`([^`]+)`", text),
        "configuration": lambda identity: json.dumps(identity, indent=1, sort_keys=True),
        "provenance": _provenance,
        "slug": lambda name: re.sub(r"[^a-z0-9]", "-", name.lower()).strip("-"),
    }
    loader = PackageLoader("paper_figures.report", "")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= filters
    shown = {name for claim in CLAIMS for name in claim.figures}
    ledgers = dict.fromkeys(path for paths, _ in drawings.values() for path in paths)
    return templates.get_template("report.html").render(
        claims=CLAIMS,
        found=found,
        drawings={name: drawing for name, (_, drawing) in drawings.items()},
        live={name: _LIVE[name](drawings[name][0][0]) for name in _LIVE if name in drawings},
        others=[drawing for name, (_, drawing) in drawings.items() if name not in shown],
        certificates=_certificates(results),
        runs={str(path.relative_to(results)): read_contents(path) for path in ledgers},
        most_rows=_MOST_ROWS,
    )


def _provenance(entry: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in entry.get("packages", {}).items())
    parts = [entry.get("time"), f"commit {entry.get('commit')}", entry.get("python"), packages, entry.get("processor")]
    return "; ".join(str(part) for part in parts if part)


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


def _certificates(results: Path) -> Table:
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
        rows.append({"certificate": str(path.relative_to(results)), **about, "proved": "; ".join(best_claims(content))})
    rows = [{name: row.get(name) for name in ("certificate", "m", "n", "d", "proved")} for row in rows]
    return Table("Certificates", rows, "Exact rationals; `expander check-certificate` recomputes all of it.")
