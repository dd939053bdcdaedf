"""Small dense SAEs of as many values: which is better at which storage, in values and in bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.plotting import BLACK, BLUE, TWO_COLUMNS, Drawing, Table, bar, estimate, panels
from paper_figures.figures.saes.storage_frontier import BYTES
from paper_figures.figures.saes.suite import (
    INTERVALS,
    NULL,
    Group,
    Row,
    data_rows,
    group,
    measure,
    null_label,
    null_line,
    null_rows,
    table_rows,
)

_COLUMNS = (
    ("parameters", "parameters (with biases)"),
    ("bytes_packed", "bytes, packed"),
    ("bytes_seeded", "bytes, mask from its seed"),
)
_KINDS = (("expander", "expander", BLUE, "o"), ("dense", "dense, fewer features", BLACK, "s"))


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the experiment has no SAE yet."""
    found = group(ledger, "small-dense")
    if found is None:
        return None
    figure, axes = panels(len(_COLUMNS), TWO_COLUMNS / len(_COLUMNS), 2.7, sharey=True)
    for axis, (x, label) in zip(axes, _COLUMNS, strict=True):
        for kind, name, colour, marker in _KINDS:
            curve = _curve(found, kind, x)
            axis.plot([p[0] for p in curve], [p[1] for p in curve], color=colour, lw=1, alpha=0.7)
            for _, seeds in found.variants():
                if seeds[0].architecture == kind:
                    bar(axis, measure(seeds[0], x), seeds, "recovered_zero", colour, marker)
            axis.plot([], [], marker, color=colour, ms=4.5, label=name)
        null_line(axis, found, "recovered_zero")
        axis.set(xscale="log", xlabel=label)
    null_label(axes[0], found)
    axes[0].set_ylabel("CE loss recovered")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(found.place, fontsize=9)
    note = f"{found.note} {INTERVALS} {BYTES} {verdicts(found)} {NULL}"
    table = Table("Small dense SAEs at matched storage", [*table_rows(found), *null_rows(found)], note)
    return Drawing({"small_dense": figure}, {"small_dense": data_rows(found.with_null)}, {"small_dense": table})


def _curve(found: Group, kind: str, x: str) -> list[tuple[float, float]]:
    points = [
        (float(measure(seeds[0], x)), estimate(seeds, "recovered_zero")[0])
        for _, seeds in found.variants()
        if seeds[0].architecture == kind
    ]
    return sorted(points)


def advantage(found: Group, x: str) -> list[Row]:
    """CE recovered at each expander SAE less that of the dense curve, interpolated in log storage."""
    dense = _curve(found, "dense", x)
    rows = []
    for place, value in _curve(found, "expander", x):
        inside = dense[0][0] <= place <= dense[-1][0]
        other = float(np.interp(np.log(place), [np.log(p) for p, _ in dense], [v for _, v in dense]))
        rows.append({"storage": place, "expander": value, "dense": other, "inside": inside, "gain": value - other})
    return rows


def verdicts(found: Group) -> str:
    """Where which kind of SAE is ahead, in words."""
    said = []
    for x, label in _COLUMNS:
        rows = [row for row in advantage(found, x) if row["inside"]]
        if not rows:
            continue
        ahead = [row["storage"] for row in rows if row["gain"] > 0]
        where = f"at {_list(ahead)} of {len(rows)} storages compared" if ahead else "at none of the storages compared"
        said.append(f"By {label} the expander is ahead {where}.")
    return " ".join(said)


def _list(values: list[float]) -> Any:
    return ", ".join(f"{value:,.0f}" for value in values)
