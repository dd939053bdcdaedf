"""Phase diagram of a sweep: a panel for each kind of dictionary and setting, with fitted boundary and certified k."""

from __future__ import annotations

from pathlib import Path

from expander_theory.plotting._curves import free_sizes, names, plain, solver_name, split
from expander_theory.plotting.drawings.output import Drawing
from expander_theory.plotting.phase_diagram import certified_sizes, plot_phase_diagram, rate_colours
from expander_theory.plotting.style import grid
from expander_theory.results import read_ledger
from expander_theory.simulation import Cell, boundaries, cell_rows, cells

KINDS = ("phase transition", "sweep")
_MOST_COLUMNS = 4


def draw(ledger: Path) -> Drawing | None:
    """Draw from a sweep's ledger; None where there is nothing to draw."""
    identity, records = read_ledger(ledger)
    counted = cells(records) if identity.get("kind") in KINDS else []
    if not counted:
        return None
    rows, fitted, certified = cell_rows(counted), boundaries(counted), certified_sizes(records)
    panels = split(rows, sizes := free_sizes(rows))
    of_cell = {id(row): cell for row, cell in zip(rows, counted, strict=True)}
    lines = split(fitted, sizes)
    columns = min(_MOST_COLUMNS, len(panels))
    figure, axes = grid(-(-len(panels) // columns), columns, 3.4 if columns < 3 else 2.6, 2.9, sharey=True)
    axes = list(axes.flat)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    repeated = len({key[:2] for key in panels}) < len(panels)
    for axis, (key, title) in zip(axes, names(panels, sizes).items(), strict=False):
        own: list[Cell] = [of_cell[id(row)] for row in panels[key]]
        proved = certified.get(key[:2], {})
        plot_phase_diagram(own, ax=axis, boundary=lines.get(key, []), certified=proved, colorbar=False)
        if repeated:
            axis.set_title(title, size=_SMALL if len(title) > _LONG else None)
    for place, axis in enumerate(axes):
        if place % columns:
            axis.set_ylabel("")
    entries = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside lower center", ncols=min(2, columns), frameon=False
        )
    solvers = " and ".join(dict.fromkeys(solver_name(cell.task.solver_label) for cell in counted))
    task, trials = counted[0].task, sorted({cell.trials for cell in counted})
    figure.colorbar(rate_colours(), ax=axes, label=f"success ({plain(task.success.label)}), {solvers}", pad=0.02)
    noise = "noiseless" if task.noise.kind == "none" else f"noise {plain(task.noise.label)},"
    spent = f"{trials[0]}" if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    figure.suptitle(f"{spent} {noise} trials a cell, {plain(task.codes.label)} coefficients", fontsize=9)
    data = {"phase_diagram_cells": rows, "phase_diagram_boundary": fitted}
    return Drawing({"phase_diagram": figure}, data)


_LONG, _SMALL = 32, 7  # characters of a title that fills a panel, and the size of longer ones
