"""What correlation, an OMP iteration and a whole solve cost against m, n and d, with fitted exponents."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from expander_theory.plotting import BLACK, BLUE, ORANGE, TWO_COLUMNS, Drawing, Table, grid
from expander_theory.results import CostRecord, read_ledger, records_of

KIND = "cost"
_METHODS = (("dense BLAS", BLACK, "s"), ("scipy.sparse", ORANGE, "^"), ("ours", BLUE, "o"))
_QUANTITIES = (
    ("correlation", "correlation (s)"),
    ("iteration", "OMP iteration (s)"),
    ("solve", "whole solve (s)"),
    ("bytes", "dictionary (bytes)"),
)
NOTE = (
    "Processor seconds a signal (all threads), the least of interleaved repeats; float32; supports and correlations of "
    "all methods were compared first. Exponent p of time ~ size^p: least squares on logarithms over the axis, 95 % "
    "Student's interval on the points about the line. scipy.sparse: W^T r by scipy and normal equations; dense BLAS: "
    "matrix products. Iteration: (solve - first step) / (k - 1)."
)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds nothing."""
    identity, found = read_ledger(ledger)
    records = records_of(found, CostRecord) if identity.get("kind") == KIND else []
    if not records:
        return None
    axes_of = {"m": 0, "n": 1, "d": 2}
    centre = identity["centre"]
    figure, axes = grid(len(_QUANTITIES), 3, TWO_COLUMNS / 3, 1.75, sharex="col", sharey="row")
    rows, fits = _rows(records), []
    for column, axis_name in enumerate(axes_of):
        line = [
            r
            for r in records
            if all(getattr(r, other) == centre[i] for other, i in axes_of.items() if other != axis_name)
        ]
        line.sort(key=lambda r: getattr(r, axis_name))
        for place, (quantity, label) in enumerate(_QUANTITIES):
            axis = axes[place][column]
            for method, colour, marker in _METHODS:
                x = [getattr(r, axis_name) for r in line]
                y = [getattr(r.methods[method], quantity) for r in line]
                axis.plot(x, y, color=colour, marker=marker, ms=3, lw=1, label=method)
                fits.append({"quantity": quantity, "axis": axis_name, "method": method, **exponent(x, y)})
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
            if column == 0:
                axis.set_ylabel(label, size=8)
        axes[-1][column].set_xlabel(f"${axis_name}$")
        axes[-1][column].tick_params(axis="x", labelsize=8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    at = ", ".join(f"${name} = {value}$" for name, value in zip(axes_of, centre, strict=True))
    figure.suptitle(f"centre {at}; $k = {identity['k']}$", fontsize=9)
    table = Table("Exponents of cost", fits, NOTE)
    return Drawing({"cost": figure}, {"cost": rows}, {"cost": table})


def exponent(x: list[float], y: list[float]) -> dict[str, Any]:
    """Slope of log y on log x with its 95 % interval; None where there are too few positive points."""
    points = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True) if b > 0]
    if len(points) < 3:
        return {"exponent": None, "low": None, "high": None, "points": len(points)}
    a, b = np.array(points).T
    slope, start = np.polyfit(a, b, 1)
    residual = b - slope * a - start
    spread = math.sqrt(float((residual**2).sum()) / (len(a) - 2) / float(((a - a.mean()) ** 2).sum()))
    half = float(stdtrit(len(a) - 2, 0.975)) * spread
    fit = {"exponent": float(slope), "low": float(slope) - half, "high": float(slope) + half}
    # LAPACK differs between processors in the last digits, and what is drawn must not
    return {**{key: round(value, 9) + 0.0 for key, value in fit.items()}, "points": len(points)}


def _rows(records: list[CostRecord]) -> list[dict[str, Any]]:
    return [
        {"m": r.m, "n": r.n, "d": r.d, "method": method, **vars(numbers)}
        for r in records
        for method, numbers in r.methods.items()
    ]
