"""Every figure by name: which ledgers it reads, what draws it, and which command writes those ledgers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from expander_theory.base import InvalidFile
from expander_theory.plotting._inputs import Stored, stored_json
from expander_theory.plotting.drawings.output import Drawing
from expander_theory.plotting.drawings.reading import readable

GROUP = "expander.figures"
"""Entry points of packages that have figures: each names a sequence of :class:`Source`."""


@dataclass(frozen=True)
class Source:
    """One figure.

    Attributes:
        module: that draws it; its last part is the figure's name.
        ledgers: places below a results folder, as glob patterns; the first that gives a drawing is used.
        made_by: the command that writes such a ledger.
        stored: what JSON files among them must hold, of those that commands write; others are passed over.
        superseded_by: the figure that shows more of the same ledgers: where its package is there, this one is drawn of
            JSON files alone.
    """

    module: str
    ledgers: tuple[str, ...]
    made_by: str
    stored: Stored | None = None
    superseded_by: str = ""

    @property
    def name(self) -> str:
        """The name of the figure."""
        return self.module.rpartition(".")[2].lstrip("_")

    @property
    def draw(self) -> Callable[..., Drawing | None]:
        """What makes a drawing of ledgers; None where they hold nothing to draw."""
        return import_module(self.module).draw

    def found(self, results: Path) -> tuple[list[Path], Drawing] | None:
        """The files used and the drawing; None where the results, a folder or one file, hold nothing to draw."""
        for pattern in self.ledgers:
            if results.is_dir():
                paths = sorted(results.glob(pattern))
            else:
                paths = [results] if results.suffix == Path(pattern).suffix else []
            paths = [path for path in paths if path.suffix != ".json" or self._stores(path, path != results)]
            with readable(paths, f"the figure {self.name}"):
                drawing = self.draw(*paths) if paths else None
            if drawing is not None:
                return paths, drawing
        return None

    def _stores(self, path: Path, among_others: bool) -> bool:
        """Whether a JSON file is what the figure draws; a damaged one in a folder of any files is not ours to judge."""
        try:
            return stored_json(path)[0] == self.stored
        except InvalidFile:
            if among_others:
                return False
            raise


Drawings = Mapping[str, tuple[list[Path], Drawing]]
"""By name: the files used and the drawing."""


@cache
def figure_sources() -> Mapping[str, Source]:
    """All figures by name, of this package and of those above it that are installed."""
    found: dict[str, Source] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            sources = entry.load()
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != entry.module.split(".")[0]:
                raise
            continue  # the package belongs to a checkout, which is not here
        found |= {source.name: source for source in sources}
    for name, source in found.items():
        if source.superseded_by in found:
            found[name] = replace(source, ledgers=tuple(place for place in source.ledgers if place.endswith(".json")))
    return found


def all_drawings(results: Path) -> Drawings:
    """Everything that the results allow."""
    found = {name: source.found(results) for name, source in figure_sources().items()}
    return {name: drawing for name, drawing in found.items() if drawing is not None}


_SWEEP = ("ledger.jsonl",)
_HERE = "expander_theory.plotting.drawings"

SOURCES = (
    Source(f"{_HERE}._phase_diagram", ("phase/ledger.jsonl", *_SWEEP), "expander sweep"),
    Source(f"{_HERE}._boundary_by_degree", ("phase/ledger.jsonl", *_SWEEP), "expander sweep"),
    Source(f"{_HERE}._success_rates", (*_SWEEP, "*.json"), "expander sweep, expander recover --out", "rates"),
    Source(f"{_HERE}._certified_k", (*_SWEEP, "*.json"), "expander sweep, expander certify", "certificate"),
    Source(
        f"{_HERE}._fidelity",
        ("saes/ledger.jsonl", *_SWEEP, "*.json"),
        "expander sae compare, expander sae eval --out",
        "evaluations",
        superseded_by="storage_frontier",
    ),
)
"""The figures that need nothing but this package: of one's own sweeps, recoveries, certificates and SAEs."""
