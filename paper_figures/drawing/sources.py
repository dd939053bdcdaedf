"""Every figure by name: which ledgers it reads, what draws it, and which experiment writes those ledgers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from paper_figures.drawing.output import Drawing
from paper_figures.drawing.reading import readable


@dataclass(frozen=True)
class Source:
    """One figure module.

    Attributes:
        module: below ``paper_figures.figures``; its last part is the figure's name.
        ledgers: places below a results folder, as glob patterns; the first that gives a drawing is used.
        made_by: the command that writes such a ledger.
    """

    module: str
    ledgers: tuple[str, ...]
    made_by: str

    @property
    def name(self) -> str:
        """Of the figure."""
        return self.module.rpartition(".")[2]

    @property
    def draw(self) -> Callable[..., Drawing | None]:
        """What makes a drawing of ledgers; None where they hold nothing to draw."""
        return import_module(f"paper_figures.figures.{self.module}").draw

    def found(self, results: Path) -> tuple[list[Path], Drawing] | None:
        """The ledgers used and the drawing; None where the results hold nothing to draw."""
        for pattern in self.ledgers:
            paths = sorted(results.glob(pattern))
            with readable(paths, f"the figure {self.name}"):
                drawing = self.draw(*paths) if paths else None
            if drawing is not None:
                return paths, drawing
        return None


Drawings = Mapping[str, tuple[list[Path], Drawing]]
"""By name: the ledgers used and the drawing."""


def all_drawings(results: Path) -> Drawings:
    """Everything that the results allow."""
    found = {name: source.found(results) for name, source in SOURCES.items()}
    return {name: drawing for name, drawing in found.items() if drawing is not None}


_SUITE = ("saes/ledger.jsonl",)

SOURCES = {
    source.name: source
    for source in (
        Source("theory.cost", ("cost/ledger.jsonl",), "expander experiment cost"),
        Source("theory.margin_map", ("identifiability/ledger.jsonl",), "expander experiment identifiability"),
        Source(
            "theory.phase_diagram", ("phase/ledger.jsonl", "ledger.jsonl"), "expander sweep, expander experiment phase"
        ),
        Source("theory.boundary_by_degree", ("phase/ledger.jsonl", "ledger.jsonl"), "expander experiment phase"),
        Source("saes.storage_frontier", _SUITE, "expander experiment frontier"),
        Source("saes.cross_model", ("**/saes/ledger.jsonl",), "expander experiment frontier"),
        Source("saes.trained_geometry", _SUITE, "expander experiment frontier"),
        Source("saes.certified_mask", _SUITE, "expander experiment certified-mask"),
        Source("saes.controls", _SUITE, "expander experiment controls"),
        Source("saes.sparsity", _SUITE, "expander experiment sparsity"),
        Source("saes.small_dense", _SUITE, "expander experiment small-dense"),
        Source("saes.better_training", _SUITE, "expander experiment better-training"),
        Source("inference.amortisation", ("amortisation/ledger.jsonl",), "expander experiment amortisation"),
        Source("inference.inference_algorithms", ("amortisation/ledger.jsonl",), "expander experiment amortisation"),
        Source("inference.recovery_curves", ("recovery/ledger.jsonl",), "expander experiment recovery"),
        Source("inference.erc_calibration", ("recovery/ledger.jsonl",), "expander experiment recovery"),
        Source("inference.cumulative_coherence", ("recovery/ledger.jsonl",), "expander experiment recovery"),
        Source("saes.feature_novelty", ("novelty/ledger.jsonl",), "expander experiment novelty"),
        Source("theory.mask_geometry", ("masks/ledger.jsonl",), "expander reproduce"),
        Source("theory.certified", ("certified/ledger.jsonl", "ledger.jsonl"), "expander certified"),
        Source("theory.tightness", ("attack/ledger.jsonl", "ledger.jsonl"), "expander theorems attack --out"),
        Source("theory.synthetic_study", ("synthetic/ledger.jsonl", "ledger.jsonl"), "expander synthetic-study"),
        Source("theory.phase_boundary", ("boundary/ledger.jsonl", "ledger.jsonl"), "expander phase-boundary"),
        Source("theory.solver_comparison", ("solvers/ledger.jsonl", "ledger.jsonl"), "expander compare-solvers"),
    )
}
