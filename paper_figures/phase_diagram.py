"""Phase diagram of OMP: expander beside dense Gaussian dictionaries, fitted boundary, certified k."""

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from expander_theory.cells import boundaries, cell_rows, cells
from expander_theory.ledger import read_ledger
from paper_figures.output import write_csv
from paper_figures.style import RED, panels, save

LEDGER = "phase/ledger.jsonl"
TITLES = {"uniform": "expander mask, $d = {d}$, signs", "dense": "dense Gaussian"}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw from ``results / LEDGER``; returns the files written."""
    _, records = read_ledger(results / LEDGER)
    counted = cells(records)
    certified = _certified(records)
    fitted = boundaries(counted)
    families = list(dict.fromkeys(cell.task.ensemble.family for cell in counted))
    figure, axes = panels(len(families), sharey=True)
    image = None
    for axis, family in zip(axes, families, strict=True):
        group = [cell for cell in counted if cell.task.ensemble.family == family]
        n = group[0].task.ensemble.n
        x = sorted({cell.task.ensemble.m for cell in group})
        image = _heat_map(axis, group, x, n)
        fits = [row for row in fitted if row["family"] == family and row["status"] == "fitted"]
        if fits:
            m = np.array([row["m"] for row in fits]) / n
            centre, low, high = (np.array([row[key] for row in fits]) for key in ("k/m at 50 %", "low", "high"))
            axis.fill_between(m, low, high, color=RED, alpha=0.35, lw=0)
            axis.plot(m, centre, color=RED, lw=1.8, marker="o", ms=3, label="fitted 50 % boundary, 95 % interval")
        sure = sorted((m, k) for (f, m), k in certified.items() if f == family)
        if sure:
            label = "certified for every code (Babel, OMP-3)"
            axis.plot([m / n for m, _ in sure], [k / m for m, k in sure], "k--", marker="s", ms=3, lw=1.3, label=label)
        d = group[0].task.ensemble.d
        top = max(cell.task.k / cell.task.ensemble.m for cell in group)
        axis.set(
            ylim=(0, 1.04 * top),
            title=TITLES.get(family, family).format(d=d),
            xlabel=f"undersampling $m/n$  ($n = {n}$)",
        )
    axes[0].set_ylabel("sparsity $k/m$")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="exact support recovery rate", pad=0.02)
    path = out / "phase_diagram"
    data = [write_csv(out / "phase_diagram_cells.csv", cell_rows(counted))]
    if fitted:
        data.append(write_csv(out / "phase_diagram_boundary.csv", fitted))
    return [*save(figure, path), *data]


def _heat_map(axis: Any, group: list[Any], x: list[int], n: int) -> Any:
    """Rate per cell; each column of cells keeps its own k/m, which rounding makes slightly uneven."""
    image = None
    edges = _edges([m / n for m in x])
    for left, right, m in zip(edges[:-1], edges[1:], x, strict=True):
        column = sorted((cell for cell in group if cell.task.ensemble.m == m), key=lambda cell: cell.task.k)
        rates = np.array([[cell.successes / max(1, cell.trials)] for cell in column])
        heights = _edges([cell.task.k / m for cell in column])
        image = axis.pcolormesh([left, right], heights, rates, vmin=0, vmax=1, cmap="cividis", rasterized=True)
    return image


def _edges(centres: list[float]) -> np.ndarray:
    """Cell borders half-way between the centres."""
    values = np.array(centres)
    if values.size == 1:
        return np.array([values[0] * 0.9, values[0] * 1.1])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[values[0] - (middle[0] - values[0])], middle, [values[-1] + (values[-1] - middle[-1])]])


def _certified(records: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Median certified k over the drawn dictionaries, by family and m."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for record in records:
        if "certified_k" in record:
            found[record["family"], record["m"]].append(record["certified_k"])
    return {key: median(values) for key, values in found.items()}
