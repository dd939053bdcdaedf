"""``expander figures``: everything that the stored results allow, and a manifest of what came from what."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from expander_theory.errors import InvalidFile
from expander_theory.files import atomic_write
from expander_theory.ledger_format import read_contents


@dataclass(frozen=True)
class Figures:
    """Draw the figures and tables that stored results allow; nothing is simulated."""

    results: tyro.conf.Positional[Path] = Path("results")
    """Folder of `expander reproduce`, `sweep`, `certified` or `theorems attack --out`."""

    def run(self) -> None:
        print(draw_all(self.results))


def draw_all(results: Path) -> str:
    """Draw into ``results/figures`` and ``results/tables``; returns a list of the files for people.

    Raises:
        InvalidFile: no such folder, or one without any results.
    """
    from paper_figures import (
        certified,
        frontier,
        mask_geometry,
        meeting_point,
        phase_boundary,
        phase_diagram,
        solver_comparison,
        synthetic_study,
        tightness,
    )

    if not results.is_dir():
        raise InvalidFile(results, "no such results folder: run `expander reproduce` first")
    manifest, lines = {}, []
    for module in (
        phase_diagram, frontier, meeting_point, mask_geometry, certified, tightness,
        synthetic_study, phase_boundary, solver_comparison,
    ):  # fmt: skip
        name = module.__name__.split(".")[-1]
        source = next((path for path in module.LEDGERS if (results / path).is_file()), None)
        files = module.draw(results / source, results / "figures") if source else []
        if source is None or not files:
            lines.append(f"  {name}: not drawn, {results / module.LEDGERS[0]} holds no results yet")
            continue
        manifest[name] = {
            "from": {source: read_contents(results / source).sha256},
            "files": {str(file.relative_to(results)): _sha256(file) for file in files},
        }
        lines += [f"  {file}" for file in files]
    if not manifest:
        raise InvalidFile(results, "holds no results to draw: run `expander reproduce` first")
    path = results / "figures" / "manifest.json"
    atomic_write(path, json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")
    return "\n".join(["Figures and tables:", *lines, f"  {path}"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
