"""The paper's synthetic study: exact recovery, atoms found, and error of OMP's codes, by degree, sparsity and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import stdtrit

from expander_theory.plotting import BLACK, Drawing, Table, grid
from expander_theory.results import read_ledger
from expander_theory.simulation import blocks_of, cell_rows, cells

Row = dict[str, Any]
KIND = "synthetic study"

NOTE = (
    "OMP is given k; codes are normal on uniform supports. Exact support: the planted one. sigma: ||noise|| / "
    "||signal||, about. error: ||x' - x|| / ||x||. Signals share masks, so the 95 % intervals rest on the masks: of "
    "the rate of exact supports, Clopper and Pearson's on the effective number of trials; of the atoms found and of "
    "the error, Student's over blocks of whole masks: of no width where all agree, and rough where a few failures make "
    "up the mean error. Between masks: standard deviation of a mask's success probability. With noise, a coefficient "
    "far below it is missed by any solver: the exact support is then a harder goal than a small error."
)
_MEASURES = (
    ("rate", "low", "high", "exact support: rate"),
    ("fraction", "fraction_low", "fraction_high", "share of atoms found"),
    ("error", "error_low", "error_high", "relative error of the code"),
)
_LEAST_ERROR = 1e-8
"""Bottom of the error's axis: below what float32 gives."""
_MARKERS = "osv^D*"


def draw(ledger: Path) -> Drawing | None:
    """Draw from the study's ledger; None where there is nothing to draw."""
    identity, records = read_ledger(ledger)
    rows = study_rows(records) if identity.get("kind") == KIND else []
    if not rows:
        return None
    table = Table("Synthetic study", [_shown(row) for row in rows], NOTE)
    return Drawing({"synthetic_study": _figure(rows)}, {"synthetic_study": rows}, {"synthetic_study": table})


def _figure(rows: Sequence[Row]) -> Figure:
    """A row of panels for each measure, a column for each noise level, a line for each degree."""
    sigmas, degrees = (sorted({row[name] for row in rows}) for name in ("sigma", "d"))
    figure, axes = grid(len(_MEASURES), len(sigmas), width=2.6, height=2.2, sharex=True, sharey="row")
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, len(degrees)))
    for place, sigma in enumerate(sigmas):
        for axis, (*names, label) in zip(axes[:, place], _MEASURES, strict=True):
            for i, d in enumerate(degrees):
                line = [row for row in rows if row["sigma"] == sigma and row["d"] == d]
                _line(axis, line, names, colours[i], _MARKERS[i % len(_MARKERS)], f"$d = {d}$")
            axis.set_ylabel(label if place == 0 else "")
        if sigma:
            _known_support(axes[-1][place], sigma, rows)
        axes[0][place].set_title(f"noise $\\sigma = {sigma:g}$" if sigma else "no noise")
        axes[-1][place].set_xlabel("sparsity $k$")
        axes[-1][place].set(yscale="log", ylim=(_LEAST_ERROR, 3))
        axes[-1][place].set_xscale("log", base=2)
        axes[-1][place].xaxis.set_major_formatter("{x:g}")
    figure.legend(*axes[-1][-1].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    trials = sorted({row["trials"] for row in rows})
    counts = f"{trials[0]}" if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    size = f"$m = {rows[0]['m']}$, $n = {rows[0]['n']}$"
    figure.suptitle(f"OMP on uniform masks with signs, {size}: {counts} trials a cell, 95 % bands", fontsize=9)
    return figure


def study_rows(records: Sequence[Any]) -> list[Row]:
    """Rows of :func:`expander_theory.simulation.cell_rows` with sigma, and intervals of the mean fraction and error."""
    counted, blocks, rows = [cell for cell in cells(records) if cell.trials], blocks_of(records), []
    for cell, row in zip(counted, cell_rows(counted), strict=True):
        known = [block for _, block in sorted(blocks[cell.task.id].items())]
        for name in ("fraction", "error"):
            row[f"{name}_low"], row[f"{name}_high"] = _mean_interval([getattr(block, name) for block in known])
        row["fraction_high"] = min(row["fraction_high"], 1.0)
        rows.append({"sigma": cell.task.noise.sigma, **row})
    return sorted(rows, key=lambda row: (row["sigma"], row["d"], row["k"]))


def _mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean, of nonnegative means over blocks: whole dictionaries, as many in each."""
    count = len(values)
    if count < 2:
        return 0.0, math.inf
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(count)
    half = float(stdtrit(count - 1, 0.975)) * error
    return max(0.0, mean - half), mean + half


def _line(axis: Any, rows: Sequence[Row], names: Sequence[str], colour: Any, marker: str, label: str) -> None:
    k = [row["k"] for row in rows]
    value, low, high = ([row[name] for row in rows] for name in names)
    axis.plot(k, value, color=colour, marker=marker, ms=3.5, lw=1.2, label=label)
    axis.fill_between(k, np.maximum(low, _LEAST_ERROR), high, color=colour, alpha=0.25, lw=0)


def _known_support(axis: Any, sigma: float, rows: Sequence[Row]) -> None:
    """Error of least squares on the planted support of a dense Gaussian dictionary, sigma sqrt(k / (m - k - 1))."""
    k = np.array(sorted({row["k"] for row in rows if row["k"] < row["m"] - 1}))
    label = "known support, Gaussian columns"
    axis.plot(k, sigma * np.sqrt(k / (rows[0]["m"] - k - 1)), color=BLACK, ls="--", lw=1, label=label)


def _shown(row: Row) -> Row:
    return {
        "sigma": row["sigma"],
        "d": row["d"],
        "k": row["k"],
        "trials": row["trials"],
        "masks": row["dictionaries"],
        "exact support": row["rate"],
        "95 %": _interval(row["exact_low"], row["exact_high"]),
        "between masks": "" if row["between_sd"] is None else row["between_sd"],
        "atoms found": row["fraction"],
        "95 % of it": _interval(row["fraction_low"], row["fraction_high"]),
        "error": row["error"],
        "95 % of the error": _interval(row["error_low"], row["error_high"]),
    }


def _interval(low: float, high: float) -> str:
    return f"[{low:.3g}, {high:.3g}]"
