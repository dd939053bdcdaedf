"""Success rates of one's own runs against k: of a sweep, or of planted codes on one dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expander_theory.plotting._curves import family_name, free_sizes, names, split
from expander_theory.plotting._inputs import is_json, rows_of_json
from expander_theory.plotting.drawings._phase_diagram import KINDS
from expander_theory.plotting.drawings.output import Drawing
from expander_theory.plotting.recovery_curves import plot_recovery_curves
from expander_theory.plotting.style import grid, panels
from expander_theory.results import read_ledger
from expander_theory.simulation import cell_rows, cells

_MOST_COLUMNS = 3


def draw(*paths: Path) -> Drawing | None:
    """From a sweep's ledger, or from files of rates, a curve each; None where there is nothing to draw."""
    if is_json(paths[0]):
        return _of_files(paths)
    identity, records = read_ledger(paths[0])
    counted = [cell for cell in cells(records) if cell.trials] if identity.get("kind") in KINDS else []
    if not counted:
        return None
    rows = {id(row): (row, cell) for row, cell in zip(cell_rows(counted), counted, strict=True)}
    shown = [row for row, _ in rows.values()]
    kinds = split(shown, sizes := free_sizes(shown))
    columns = min(_MOST_COLUMNS, len(kinds))
    figure, axes = grid(-(-len(kinds) // columns), columns, 4.2 if columns == 1 else 3.2, 2.9, sharey=True)
    axes = list(axes.flat)
    for axis in axes[len(kinds) :]:
        axis.set_axis_off()
    for place, (axis, (key, title)) in enumerate(zip(axes, names(kinds, sizes).items(), strict=False)):
        plot_recovery_curves([rows[id(row)][1] for row in kinds[key]], ax=axis)
        axis.set_title(title, size=9)
        _name_sizes(axis, kinds[key])
        if place % columns:
            axis.set_ylabel("")
    figure.suptitle("Success rate against $k$; bands: 95 % Wilson intervals", fontsize=9)
    return Drawing({"success_rates": figure}, {"success_rates": shown})


def _name_sizes(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """A legend of sizes; where there are many, of the least, the middle and the largest."""
    handles, labels = axis.get_legend_handles_labels()
    if len(handles) == 1:
        row = rows[0]
        labels = [f"$m = {row['m']}$, $n = {row['n']}$"]
    labels = [label.removeprefix(family_name(rows[0]["family"], rows[0]["d"]) + ", ") for label in labels]
    if len(handles) > 6:
        kept = sorted({round(i * (len(handles) - 1) / 4) for i in range(5)})
        handles, labels = [handles[i] for i in kept], [labels[i] for i in kept]
    axis.legend(handles, labels, frameon=False, fontsize=7)


def _of_files(paths: tuple[Path, ...]) -> Drawing:
    figure, (axis,) = panels(1, 4.6, 3.2)
    points = []
    for place, path in enumerate(paths):
        rates = rows_of_json(path, "rates", "expander recover --out")
        plot_recovery_curves(rates, ax=axis, label=path.stem, color=f"C{place}")
        points += [{"file": path.name, **rate, "rate": rate["successes"] / rate["trials"]} for rate in rates]
    axis.legend(frameon=False)
    axis.set_title("planted codes; bands: 95 % Wilson intervals", size=9)
    return Drawing({"success_rates": figure}, {"success_rates": points})
