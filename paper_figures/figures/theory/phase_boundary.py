"""The 50 % boundary from adaptive trials, over the fixed grid's rates and beside its fitted boundary and its cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from expander_theory.plotting import BLACK, BLUE, RED, Drawing, Table, panels, plot_boundary
from expander_theory.results import TimingRecord, read_ledger, records_of, table
from expander_theory.simulation import Cell, FindBoundary, FitBoundary, Ladder, blocks_of, cell_rows, cells
from expander_theory.statistics import fit_boundary

Row = dict[str, Any]
KIND = "phase boundary"

_ABOUT = {
    "fit": "Search: a logistic fit of each ladder (Firth-penalised), stopped once its 97.5 % profile interval is "
    "narrow enough, which in simulations leaves it 95 % at the time of stopping.",
    "bracket": "Search: the rate is at least 1/2 at the lower end and at most 1/2 at the upper one, with 95 % "
    "confidence at all times at once, if rates do not rise with k; the centre is the middle.",
}
_FIXED = "Fixed grid: a logistic fit of its cells, 95 % profile interval, from instances of its own."
_PARTS = ("search", "fixed grid")
_TIMES = ("processor seconds", "seconds")
_ENDS = ("k/m at 50 %", "low", "high")
_ROUNDING = 1 + 1e-9


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where there is nothing to draw."""
    identity, records = read_ledger(ledger)
    rows = boundary_rows(identity, records) if identity.get("kind") == KIND else []
    if not rows:
        return None
    fixed = _cells(identity, records, "fixed grid")
    note = f"{_ABOUT[identity['method']]} {_FIXED}\n\n{agreement(identity, rows)}"
    costs = Table("Cost of the phase boundary", cost_rows(identity, records), note)
    return Drawing(
        {"phase_boundary": _figure(identity, rows, fixed)},
        {"phase_boundary_fixed_grid": cell_rows(fixed)},
        {"phase_boundary": Table("Phase boundary", rows, note), "phase_boundary_cost": costs},
    )


def report(ledger: Path) -> str:
    """Cost and agreement, for people."""
    identity, records = read_ledger(ledger)
    costs, rows = cost_rows(identity, records), boundary_rows(identity, records)
    lines = [table(costs), "", agreement(identity, rows)]
    if len(costs) == 2:
        shares = (f"{costs[0][name] / costs[1][name]:.2f} of its {name}" for name in ("trials", *_TIMES))
        whole = all(cost["trials"] == cost["trials timed"] for cost in costs)
        partly = "Times are those of a part of the trials alone: some runs were killed before they could record theirs."
        lines.append(f"The search took, of the fixed grid: {', '.join(shares)}." if whole else partly)
    return "\n".join(lines)


def boundary_rows(identity: Mapping[str, Any], records: Sequence[Any]) -> list[Row]:
    """One row a ladder with trials: its boundary from the search, and from the fixed grid (None if it was not run)."""
    blocks = blocks_of(records)
    searched, fixed = (_columns(_cells(identity, records, part)) for part in _PARTS)
    rows = []
    for m, group in sorted(searched.items()):
        ladder = Ladder(group[0].task, tuple(range(1, m + 1)))
        seen = {c.task.k: [block.outcome for _, block in sorted(blocks[c.task.id].items())] for c in group}
        centre, low, high, status = _searched(identity, ladder, seen)
        rows.append(
            {
                **{"m": m, "m/n": m / identity["n"], "k/m at 50 %": centre, "low": low, "high": high},
                **{"status": status, "known": _known(identity, m, low, high)},
                **{"cells": len(group), "trials": sum(cell.trials for cell in group)},
                **_fixed(m, fixed.get(m, [])),
            }
        )
    return rows


def _cells(identity: Mapping[str, Any], records: Sequence[Any], part: str) -> list[Cell]:
    """Cells with trials of the search or of the fixed grid, which have seeds of their own, by m and k."""
    seed = identity["seed" if part == "search" else "fixed_seed"]
    found = [cell for cell in cells(records) if cell.trials and cell.task.seed == seed]
    return sorted(found, key=lambda cell: (cell.task.ensemble.m, cell.task.k))


def _columns(group: Sequence[Cell]) -> dict[int, list[Cell]]:
    """Cells by m."""
    found: dict[int, list[Cell]] = defaultdict(list)
    for cell in group:
        found[cell.task.ensemble.m].append(cell)
    return found


def _searched(
    identity: Mapping[str, Any], ladder: Ladder, seen: Mapping[int, Sequence[str]]
) -> tuple[float, float, float, str]:
    """Centre and ends in k/m of what the search knows, NaN where it knows nothing, and its status."""
    effort, m = (identity["resolution"], identity["max_trials"]), ladder.base.ensemble.m
    if identity["method"] == "fit":
        fit = FitBoundary(*effort).boundary(ladder, seen)
        return (fit.centre, fit.low, fit.high, fit.status) if fit else (math.nan, math.nan, math.nan, "open")
    bracket = FindBoundary(*effort).bracket(ladder, seen)
    low, high = (math.nan if k is None else k / m for k in (bracket.low_k, bracket.high_k))
    return (low + high) / 2, low, high, bracket.status


def _known(identity: Mapping[str, Any], m: int, low: float, high: float) -> str:
    """How well: within the resolution, or within one k where that is coarser, or neither.

    Rates are seen at whole k alone. Where the resolution is finer than that, what a fit says between two of them is an
    interpolation, and no more than one k is claimed.
    """
    resolution, half = identity["resolution"], (high - low) / 2
    if half <= resolution * _ROUNDING and 2 * resolution * m * _ROUNDING >= 1:
        return f"+-{resolution:g}"
    return "+-1 k" if half <= _ROUNDING / m else "no"


def _fixed(m: int, group: Sequence[Cell]) -> Row:
    names = ("fixed grid: k/m at 50 %", "fixed grid: low", "fixed grid: high", "fixed grid: trials")
    if len(group) < 2:
        return dict.fromkeys(names)
    x, n = [cell.successes for cell in group], [cell.trials for cell in group]
    fit = fit_boundary([cell.task.k / m for cell in group], x, n)
    return dict(zip(names, (fit.centre, fit.low, fit.high, sum(n)), strict=True))


def cost_rows(identity: Mapping[str, Any], records: Sequence[Any]) -> list[Row]:
    """What each part of the experiment took, over all its runs."""
    rows = []
    for part in _PARTS:
        group = _cells(identity, records, part)
        runs = [record for record in records_of(records, TimingRecord) if record.part == part]
        if group:
            rows.append(
                {
                    "part": part,
                    "ladders": len(_columns(group)),
                    "cells": len(group),
                    "trials": sum(cell.trials for cell in group),
                    "trials timed": sum(run.trials for run in runs),
                    "processor seconds": round(math.fsum(run.processor_seconds for run in runs), 2),
                    "seconds": round(math.fsum(run.seconds for run in runs), 2),
                    "workers": ", ".join(sorted({str(run.workers) for run in runs})),
                }
            )
    return rows


def agreement(identity: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """How many ladders are resolved, how well, and how the two boundaries differ."""
    resolution = f"+-{identity['resolution']:g}"
    counts = {known: sum(row["known"] == known for row in rows) for known in (resolution, "+-1 k", "no")}
    halves = [(row["high"] - row["low"]) / 2 for row in rows if row["known"] != "no"]
    text = (
        f"Boundary known within {resolution} in k/m in {counts[resolution]} of {len(rows)} ladders; within one k, "
        f"where whole k allow no better, in {counts['+-1 k']}; not so well in {counts['no']}. "
        f"Median half-width {np.median(halves or math.nan):.2g}."
    )
    both = [row for row in rows if row["fixed grid: k/m at 50 %"] is not None]
    both = [row for row in both if math.isfinite(row["k/m at 50 %"] - row["fixed grid: k/m at 50 %"])]
    if not both:
        return text
    centre, low, high = (_column(both, name) for name in _ENDS)
    fixed_centre, fixed_low, fixed_high = (_column(both, f"fixed grid: {name}") for name in _ENDS)
    meet, off = (low <= fixed_high) & (fixed_low <= high), centre - fixed_centre
    return (
        f"{text} The fixed grid's fit has median half-width {np.median(fixed_high - fixed_low) / 2:.2g}; the two "
        f"intervals meet in {meet.sum()} of {len(both)} ladders; search less fixed grid: {off.mean():+.2g} on average, "
        f"{math.sqrt((off**2).mean()):.2g} in root mean square, at most {np.abs(off).max():.2g}."
    )


def _figure(identity: Mapping[str, Any], rows: Sequence[Row], fixed: Sequence[Cell]) -> Figure:
    figure, axes = panels(2 if fixed else 1, width=3.9, height=3.3)
    x = np.array([row["m/n"] for row in rows])
    if fixed:
        image = _heat_map(axes[0], identity, fixed)
        figure.colorbar(image, ax=axes[0], label="fixed grid: success (exact support), OMP", pad=0.02)
        axes[0].plot(x, _column(rows, "k/m at 50 %"), color=RED, lw=1.5, label="50 % boundary, search")
        axes[0].legend(loc="upper left", frameon=False, labelcolor="w")
        axes[0].set(ylabel="sparsity $k/m$", xlabel="undersampling $m/n$")
    close = axes[-1]
    _interval(close, identity, rows, "", RED, f"search, {sum(row['trials'] for row in rows):,} trials")
    if fixed:
        label = f"fixed grid, {sum(cell.trials for cell in fixed):,} trials"
        _interval(close, identity, rows, "fixed grid: ", BLUE, label)
    centre, resolution = _column(rows, "k/m at 50 %"), identity["resolution"]
    close.plot(x, centre + resolution, color=BLACK, lw=0.6, ls=":", label=f"$\\pm{resolution:g}$")
    close.plot(x, centre - resolution, color=BLACK, lw=0.6, ls=":")
    close.set(xlabel="undersampling $m/n$", ylabel="50 % boundary, $k/m$")
    close.legend(loc="lower right", frameon=False)
    figure.suptitle(f"OMP on uniform masks with signs, $d = {identity['d']}$, $n = {identity['n']}$", fontsize=9)
    return figure


def _heat_map(axis: Any, identity: Mapping[str, Any], fixed: Sequence[Cell]) -> Any:
    """The fixed grid's rates; a place of the grid without a k of its own shows that of its neighbour."""
    columns, height, width = _columns(fixed), identity["rows"], identity["columns"]
    rates = np.full((height, width), np.nan)
    for m, group in columns.items():
        place = round(m * width / identity["n"]) - 1
        ks = np.array([cell.task.k for cell in group])
        for row in range(height):
            rates[row, place] = group[int(np.abs(ks - m * (row + 1) / height).argmin())].rate
    x, y = ((np.arange(count + 1) + 0.5) / count for count in (width, height))
    return axis.pcolormesh(x, y, rates, vmin=0, vmax=1, cmap="cividis", rasterized=True)


def _interval(axis: Any, identity: Mapping[str, Any], rows: Sequence[Row], part: str, colour: str, label: str) -> None:
    ends = {name: _column(rows, f"{part}{name}") for name in _ENDS}  # NaN where a ladder has no boundary
    boundary = [
        {"m": row["m"], "n": identity["n"], **{name: ends[name][place] for name in _ENDS}}
        for place, row in enumerate(rows)
    ]
    plot_boundary(boundary, ax=axis, band=0.25, color=colour, marker=".", ms=4, lw=1, label=label)


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], float)
