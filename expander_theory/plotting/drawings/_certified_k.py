"""Certified against empirical sparsity of one's own runs: of a sweep, or what certificates prove."""

from __future__ import annotations

from pathlib import Path

from expander_theory.plotting._inputs import is_json
from expander_theory.plotting.certified import certified_rows, plot_certified
from expander_theory.plotting.drawings._phase_diagram import KINDS
from expander_theory.plotting.drawings.output import Drawing
from expander_theory.plotting.phase_diagram import certified_sizes
from expander_theory.plotting.style import panels
from expander_theory.results import read_ledger


def draw(*paths: Path) -> Drawing | None:
    """From a sweep's ledger with certified dictionaries, or from certificates; None where there is nothing to draw."""
    if is_json(paths[0]):
        rows = [{"file": path.name, **row} for path in paths for row in certified_rows(path)]
    else:
        identity, records = read_ledger(paths[0])
        if identity.get("kind") not in KINDS or not certified_sizes(records):
            return None
        rows = certified_rows(paths[0])
    figure, (axis,) = panels(1, 5.2, 3.4)
    plot_certified(rows, ax=axis)
    ncols = 1 if len(axis.get_legend_handles_labels()[1]) <= 4 else 2
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=ncols, frameon=False)
    data = [{"low": None, "high": None, **row} for row in rows]
    order = [*dict.fromkeys(name for row in data for name in row)]
    return Drawing({"certified_k": figure}, {"certified_k": [{name: row.get(name) for name in order} for row in data]})
