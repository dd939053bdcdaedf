"""The fitted 50 % boundary by family and degree, beside the weak threshold of l1 minimisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expander_theory.plotting._curves import degree, solver_name
from expander_theory.plotting.boundary import fitted_rows, plot_boundary
from expander_theory.plotting.drawings._phase_diagram import KINDS
from expander_theory.plotting.drawings.output import Drawing, Table
from expander_theory.plotting.style import BLACK, FAMILIES, GREY, TWO_COLUMNS, panels
from expander_theory.results import read_ledger
from expander_theory.simulation import boundaries, cells

NOTE = (
    "Logistic 50 % point in k/m of exact recovery by {solvers}, with its 95 % interval, for each m/n. l1: the weak "
    "threshold of Donoho and Tanner for Gaussian dictionaries, signed codes, n to infinity: what basis pursuit does, "
    "for reference."
)


def draw(ledger: Path) -> Drawing | None:
    """From a sweep's ledger; None where no boundary could be fitted."""
    identity, records = read_ledger(ledger)
    counted = cells(records) if identity.get("kind") in KINDS else []
    rows = fitted_rows(boundaries(counted))
    if not rows:
        return None
    degrees = len({row["d"] for row in rows if row["family"] == "uniform"}) > 1
    figure, axes = panels(2, TWO_COLUMNS / 2, 2.8) if degrees else panels(1, 5.2, 3.2)
    plot_boundary(rows, ax=axes[0], weak_threshold=True)
    if degrees:
        _by_degree(axes[1], rows)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3 if degrees else 2, frameon=False)
    columns = ("family", "values", "m", "n", "d", "k/m at 50 %", "low", "high")
    note = NOTE.format(solvers=" and ".join(dict.fromkeys(solver_name(row["solver"]) for row in rows)))
    table = Table("Boundaries by family and degree", [{key: row[key] for key in columns} for row in rows], note)
    return Drawing({"boundary_by_degree": figure}, {"boundary_by_degree": rows}, {"boundary_by_degree": table})


def _by_degree(axis: Any, rows: list[dict[str, Any]]) -> None:
    """The boundary over d at a few m/n; the dense one as a line."""
    ratios = sorted({row["m"] / row["n"] for row in rows if row["family"] == "uniform"})
    chosen = [ratios[round(q * (len(ratios) - 1))] for q in (0.125, 0.5, 0.875)] if ratios else []
    for colour, ratio in zip((GREY, BLACK, FAMILIES["uniform"]), dict.fromkeys(chosen), strict=False):
        at = [row for row in rows if row["m"] / row["n"] == ratio]
        line = sorted((row for row in at if row["family"] == "uniform"), key=degree)
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
