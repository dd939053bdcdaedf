"""OMP against other solvers, trial by trial on the same instances: success rates, paired differences, exact tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from expander_theory.plotting import BLACK, BLUE, GREEN, ORANGE, RED, Drawing, Table, grid
from expander_theory.results import read_ledger
from expander_theory.simulation import Cell, blocks_of, cell_rows, cells
from expander_theory.statistics import compare_paired

Row = dict[str, Any]
KIND = "solver comparison"
FIRST = "omp"

NOTE = (
    "Both solvers were given the same masks, signals and k; success: exactly the planted support. Difference: rate of "
    "the first less rate of the second, with an interval that covers 95 % always. p: McNemar's exact test on the "
    "discordant pairs, of that one comparison; Holm: adjusted for all rows of this table."
)
_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#F0E442", "#999999")


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where there is nothing to draw."""
    identity, records = read_ledger(ledger)
    counted = _cells(identity, records) if identity.get("kind") == KIND else []
    rows = comparison_rows(counted, records)
    if not rows:
        return None
    return Drawing(
        {"solver_comparison": _figure(cell_rows(counted), rows)},
        {"solver_comparison_rates": cell_rows(counted)},
        {"solver_comparison": Table("Solvers on the same instances", rows, NOTE)},
    )


def _cells(identity: Mapping[str, Any], records: Sequence[Any]) -> list[Cell]:
    """Those with trials, in an order that does not depend on which came first: by law, OMP before others, k."""
    counted = [cell for cell in cells(records) if cell.trials]
    laws = identity["laws"]
    return sorted(
        counted, key=lambda c: (laws.index(c.task.codes.law), c.task.solver != FIRST, c.task.solver_label, c.task.k)
    )


def comparison_rows(counted: Sequence[Cell], records: Sequence[Any]) -> list[Row]:
    """OMP against each other solver, for every law and k that both were tried on: over the blocks that both have."""
    blocks = blocks_of(records)
    first = {cell.task.instance_id: cell.task for cell in counted if cell.task.solver == FIRST}
    rows = []
    for cell in counted:
        second = cell.task
        if second.solver == FIRST or second.instance_id not in first:
            continue
        a, b = blocks[first[second.instance_id].id], blocks[second.id]
        shared = sorted(a.keys() & b.keys())
        found = compare_paired(*([part[block].outcome for block in shared] for part in (a, b)))
        rows.append(
            {
                **{"codes": second.codes.label, "first": FIRST, "second": second.solver_label, "k": second.k},
                **{"trials": found.trials, "both": found.both, "first only": found.first_only},
                **{"second only": found.second_only, "difference": found.difference},
                **{"low": found.low, "high": found.high, "p": found.p_value},
            }
        )
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p, Holm"] = adjusted
    return rows


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number: rejecting those up to a errs anywhere with probability <= a (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.array(p_values, float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()


def _figure(rates: Sequence[Row], rows: Sequence[Row]) -> Figure:
    """Rates above, differences below, a column for each law of the codes."""
    laws = list(dict.fromkeys(row["codes"] for row in rows))
    others = list(dict.fromkeys(row["second"] for row in rows))
    colours = {FIRST: BLACK, **dict(zip(others, _COLOURS, strict=False))}
    figure, axes = grid(2, len(laws), width=3.4, height=2.4, sharex=True, sharey="row")
    for place, law in enumerate(laws):
        above, below = axes[:, place]
        for solver, group in _lines(rates, law, "solver").items():
            _line(above, group, "rate", colours[solver], solver)
        for solver, group in _lines(rows, law, "second").items():
            _line(below, group, "difference", colours[solver], solver)
        below.axhline(0, color=BLACK, lw=0.6)
        below.set(xlabel="sparsity $k$", ylabel="rate of OMP less theirs" if place == 0 else "")
        above.set(title=f"{law} codes", ylabel="exact support: rate" if place == 0 else "")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    size = ", ".join(f"${name} = {rates[0][name]}$" for name in ("m", "n", "d"))
    trials = sorted({row["trials"] for row in rows})
    counts = f"{trials[0]}" if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    figure.suptitle(f"Solvers on the same instances, {size}: {counts} pairs a cell, 95 % bands", fontsize=9)
    return figure


def _lines(rows: Sequence[Row], law: str, name: str) -> dict[str, list[Row]]:
    """Rows of one law by solver."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["codes"] == law:
            found[row[name]].append(row)
    return found


def _line(axis: Any, group: Sequence[Row], name: str, colour: str, label: str) -> None:
    k, value, low, high = ([row[key] for row in group] for key in ("k", name, "low", "high"))
    axis.plot(k, value, color=colour, marker=".", ms=4, lw=1.2, label=label)
    axis.fill_between(k, low, high, color=colour, alpha=0.15, lw=0)
