"""The fitted 50 % boundary of OMP by family and degree, beside the weak threshold of l1 minimisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.results import read_ledger
from expander_theory.simulation import boundaries, cells
from expander_theory.statistics import weak_curve
from paper_figures.drawing.output import Drawing, Table
from paper_figures.drawing.style import BLACK, FAMILIES, GREY, TWO_COLUMNS, degree_colours, panels
from paper_figures.figures.theory.phase_diagram import KINDS

NOTE = (
    "Logistic 50 % point in k/m of exact recovery by OMP, with its 95 % interval, for each m/n. l1: the weak "
    "threshold of Donoho and Tanner for Gaussian dictionaries, signed codes, n to infinity: what basis pursuit does, "
    "for reference."
)
_MARKERS = {"uniform": "o", "biregular": "s", "polynomial": "^", "dense": "D"}


def draw(ledger: Path) -> Drawing | None:
    """From a sweep's ledger; None unless it has boundaries of several ensembles."""
    identity, records = read_ledger(ledger)
    counted = cells(records) if identity.get("kind") in KINDS else []
    rows = [row for row in boundaries(counted) if row["status"] == "fitted"]
    kinds = sorted({_kind(row) for row in rows}, key=lambda kind: (kind[0] == "dense", *kind))
    if len(kinds) < 2:
        return None
    shades = degree_colours([d for family, d in kinds if family == "uniform"])
    figure, (left, right) = panels(2, TWO_COLUMNS / 2, 2.8)
    for family, d in kinds:
        line = sorted((row for row in rows if _kind(row) == (family, d)), key=lambda row: row["m"] / row["n"])
        colour = shades[d] if family == "uniform" else FAMILIES.get(family, GREY)
        x = [row["m"] / row["n"] for row in line]
        label = "dense Gaussian" if family == "dense" else f"{family}, $d = {d}$"
        left.plot(x, [row["k/m at 50 %"] for row in line], color=colour, marker=_MARKERS.get(family, "x"), ms=3, lw=1.1,
                  ls="-" if family == "uniform" else "--", label=label)  # fmt: skip
        low, high = ([row[end] for row in line] for end in ("low", "high"))
        left.fill_between(x, np.maximum(low, 0), np.minimum(high, 1), color=colour, alpha=0.15, lw=0)
    ratio, sparsity = weak_curve(np.linspace(0.05, 4, 200))
    inside = (ratio <= max(row["m"] / row["n"] for row in rows)) & (ratio >= min(row["m"] / row["n"] for row in rows))
    left.plot(ratio[inside], sparsity[inside], color=BLACK, lw=1, ls=":", label="l1, weak threshold")
    left.set(xlabel="undersampling $m/n$", ylabel="$k/m$ at 50 %")
    _by_degree(right, rows)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    columns = ("family", "values", "m", "n", "d", "k/m at 50 %", "low", "high")
    table = Table("Boundaries by family and degree", [{key: row[key] for key in columns} for row in rows], NOTE)
    return Drawing({"boundary_by_degree": figure}, {"boundary_by_degree": rows}, {"boundary_by_degree": table})


def _kind(row: dict[str, Any]) -> tuple[str, int]:
    return row["family"], 0 if row["family"] == "dense" else row["d"]


def _by_degree(axis: Any, rows: list[dict[str, Any]]) -> None:
    """The boundary over d at a few m/n; the dense one as a line."""
    ratios = sorted({row["m"] / row["n"] for row in rows if row["family"] == "uniform"})
    chosen = [ratios[round(q * (len(ratios) - 1))] for q in (0.125, 0.5, 0.875)] if ratios else []
    for colour, ratio in zip((GREY, BLACK, FAMILIES["uniform"]), dict.fromkeys(chosen), strict=False):
        at = [row for row in rows if row["m"] / row["n"] == ratio]
        line = sorted((row for row in at if row["family"] == "uniform"), key=lambda row: row["d"])
        y = [row["k/m at 50 %"] for row in line]
        bars = [[v - max(row["low"], 0) for v, row in zip(y, line, strict=True)],
                [min(row["high"], 1) - v for v, row in zip(y, line, strict=True)]]  # fmt: skip
        axis.errorbar([row["d"] for row in line], y, yerr=bars, color=colour, marker="o", ms=3, capsize=2, lw=1,
                      label=f"$m/n = {ratio:.2g}$")  # fmt: skip
        for row in at:
            if row["family"] == "dense":
                axis.axhline(row["k/m at 50 %"], color=colour, lw=0.8, ls="--")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="$d$ of uniform masks (dashed: dense)", ylabel="$k/m$ at 50 %")
    axis.legend(frameon=False, fontsize=7)
