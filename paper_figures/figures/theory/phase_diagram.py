"""Phase diagram: recovery rate over (m/n, k/m) by family of dictionaries, fitted boundary, certified k."""

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from expander_theory.results import CertificateRecord, read_ledger, records_of
from expander_theory.simulation import Cell, boundaries, cell_rows, cells
from paper_figures.drawing.output import Drawing
from paper_figures.drawing.style import RED, grid

KINDS = ("phase transition", "sweep")
_MOST_COLUMNS = 4
TITLES = {
    "uniform": "expander mask, $d = {d}$, {values}",
    "polynomial": "polynomial mask, $d = {d}$, {values}",
    "dense": "dense Gaussian",
}


def draw(ledger: Path) -> Drawing | None:
    """Draw from a sweep's ledger; None where there is nothing to draw."""
    identity, records = read_ledger(ledger)
    counted = cells(records) if identity.get("kind") in KINDS else []
    if not counted:
        return None
    fitted, certified = boundaries(counted), _certified(records)
    kinds = sorted({_kind(cell.task.ensemble.family, cell.task.ensemble.d) for cell in counted}, key=_place)
    columns = min(_MOST_COLUMNS, len(kinds))
    figure, axes = grid(-(-len(kinds) // columns), columns, 3.4 if columns < 3 else 2.6, 2.9, sharey=True)
    axes = list(axes.flat)
    for axis in axes[len(kinds) :]:
        axis.set_axis_off()
    image: Any = None
    for axis, kind in zip(axes, kinds, strict=False):
        image = _heat_map(axis, [c for c in counted if _kind(c.task.ensemble.family, c.task.ensemble.d) == kind])
        _boundary(axis, [row for row in fitted if _kind(row["family"], row["d"]) == kind and row["status"] == "fitted"])
        _certificates(axis, {size: k for (name, d, size), k in certified.items() if _kind(name, d) == kind})
    for axis in axes[::columns]:
        axis.set_ylabel("sparsity $k/m$")
    entries = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if entries:
        place = {"loc": "outside lower center", "ncols": 2, "frameon": False}
        figure.legend(list(entries.values()), list(entries), **place)
    task, trials = counted[0].task, sorted({cell.trials for cell in counted})
    solver = {"omp": "OMP", "topk": "tied TopK"}.get(task.solver, task.solver)
    figure.colorbar(image, ax=axes, label=f"success ({task.success.label}), {solver}", pad=0.02)
    noise = "noiseless" if task.noise.kind == "none" else f"noise {task.noise.label},"
    spent = f"{trials[0]}" if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    law = f"{spent} {noise} trials a cell, {task.codes.label} coefficients"
    figure.suptitle(law, fontsize=9)
    data = {"phase_diagram_cells": cell_rows(counted), "phase_diagram_boundary": fitted}
    return Drawing({"phase_diagram": figure}, data)


def _kind(family: str, d: int) -> tuple[str, int]:
    """What shares a panel: a family and its degree; dense dictionaries of all sizes."""
    return family, 0 if family == "dense" else d


def _place(kind: tuple[str, int]) -> tuple[int, str, int]:
    """Uniform masks first, dense dictionaries last."""
    family, d = kind
    return {"uniform": 0, "dense": 2}.get(family, 1), family, d


def _heat_map(axis: Any, group: list[Cell]) -> Any:
    """Rate per cell; each column of cells keeps its own k/m, which rounding makes slightly uneven."""
    columns: dict[tuple[int, int], list[Cell]] = defaultdict(list)
    for cell in group:
        columns[cell.task.ensemble.m, cell.task.ensemble.n].append(cell)
    order = sorted(columns, key=lambda size: size[0] / size[1])
    edges = _edges([m / n for m, n in order])
    image = None
    for left, right, (m, n) in zip(edges[:-1], edges[1:], order, strict=True):
        column = sorted(columns[m, n], key=lambda cell: cell.task.k)
        rates = np.array([[cell.successes / max(1, cell.trials)] for cell in column])
        heights = np.maximum(0, _edges([cell.task.k / m for cell in column]))
        image = axis.pcolormesh([left, right], heights, rates, vmin=0, vmax=1, cmap="cividis", rasterized=True)
    ensemble, widths = group[0].task.ensemble, {n for _, n in order}
    fixed = f"$n = {ensemble.n}$" if len(widths) == 1 else f"$m = {ensemble.m}$"
    top = max(cell.task.k / cell.task.ensemble.m for cell in group)
    axis.set(xlabel=f"undersampling $m/n$  ({fixed})", ylim=(0, 1.04 * top))
    title = TITLES.get(ensemble.family, f"{ensemble.family.replace('-', ' ')} mask, $d = {{d}}$, {{values}}")
    axis.set_title(title.format(d=ensemble.d, values=ensemble.values))
    return image


def _boundary(axis: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        rows = sorted(rows, key=lambda row: row["m"] / row["n"])
        x = np.array([row["m"] / row["n"] for row in rows])
        centre, low, high = (np.array([row[key] for row in rows]) for key in ("k/m at 50 %", "low", "high"))
        low, high = np.maximum(low, 0), np.minimum(high, 1)  # an open interval ends at the frame
        axis.fill_between(x, low, high, color=RED, alpha=0.35, lw=0)
        axis.plot(x, centre, color=RED, lw=1.8, marker="o", ms=3, label="fitted 50 % boundary, 95 % interval")


def _certificates(axis: Any, certified: dict[tuple[int, int], float]) -> None:
    if certified:
        points = sorted((m / n, k / m) for (m, n), k in certified.items())
        label = "certified for every code (Babel; median over drawn dictionaries)"
        axis.plot(*zip(*points, strict=True), "k--", marker="s", ms=3, lw=1.3, label=label, clip_on=False)


def _edges(centres: list[float]) -> np.ndarray:
    """Cell borders half-way between the centres."""
    values = np.array(centres)
    if values.size == 1:
        return np.array([values[0] * 0.9, values[0] * 1.1])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[values[0] - (middle[0] - values[0])], middle, [values[-1] + (values[-1] - middle[-1])]])


def _certified(records: list[Any]) -> dict[tuple[str, int, tuple[int, int]], float]:
    """Median certified k over the drawn dictionaries, by family, degree and size (m, n)."""
    found: dict[tuple[str, int, tuple[int, int]], list[int]] = defaultdict(list)
    for record in records_of(records, CertificateRecord):
        found[record.family, record.d, (record.m, record.n)].append(record.certified_k)
    return {key: median(values) for key, values in found.items()}
