"""Storage-fidelity frontier: CE-loss recovered and FVU against learned decoder values."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from expander_theory.plotting import BLUE, GREEN, ORANGE, Drawing, Table, panels
from expander_theory.results import read_ledger, table_row
from paper_figures.figures.saes.suite import model_name

_INTERVALS = ("fvu", "relative_error", "ce", "kl", "delta", "recovered_zero", "recovered_mean", "omp_recovered_zero")
_SERIES = (
    ("recovered_zero", "against zero ablation", BLUE, "o"),
    ("recovered_mean", "against mean ablation", ORANGE, "s"),
)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where there is nothing to draw."""
    about, records = read_ledger(ledger)
    rows = [record for record in records if "fvu" in record]
    if not rows or about.get("kind") != "sae comparison":
        return None
    groups = _by_size(rows)
    figure, (left, right) = panels(2, height=3.3)
    for name, _, colour, marker in _SERIES:
        _curve(left, groups, name, colour, marker)
    _curve(right, groups, "fvu", GREEN, "o")
    left.set(ylabel="CE loss recovered")
    right.set(ylabel="fraction of variance unexplained")
    for axis, name in ((left, "recovered_zero"), (right, "fvu")):
        axis.set_xscale("log")
        axis.margins(x=0.2, y=0.2)
        axis.set_xlabel("learned decoder values")
        _label(axis, groups, name)
    figure.legend(handles=_handles(), loc="outside lower center", ncols=2, frameon=False)
    m, n, k = rows[0]["m"], rows[0]["n"], rows[0]["k"]
    model = model_name(about["model"])
    place = f"{model}, {about['hook']} of layer {about['layer']}"
    steps = about["recipe"]["steps"]
    figure.suptitle(f"{place}: $m = {m}$, $n = {n}$, $k = {k}$, {steps} steps", fontsize=10.5)
    flat = [{key: value for key, value in row.items() if not isinstance(value, list)} | _intervals(row) for row in rows]
    order = sorted(rows, key=lambda row: (-row["decoder_values"], row["name"]))
    contexts, documents = about["contexts"]["held_out"], about["documents"]["held_out"]
    held_out = f"{contexts} contexts of {about['context']} tokens from {documents} documents"
    note = next(record["note"] for record in records if "note" in record)
    note += f" Held out: {held_out}. Every architecture at its own best rate from a sweep: "
    note += "that of the biases is given, decoder values move at sqrt(m/d) times it."
    shaped: list[Any] = [SimpleNamespace(**row) for row in order]
    table = [table_row(row) for row in shaped]
    shown = Table("Expander SAEs and the dense reference", table, note)
    return Drawing({"frontier": figure}, {"frontier": flat}, {"saes": shown})


def _by_size(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The seeds of each decoder size, sizes increasing."""
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["decoder_values"]].append(row)
    return [groups[values] for values in sorted(groups)]


def _mean(group: list[dict[str, Any]], name: str) -> float:
    values = [row[name] for row in group if row[name] is not None]
    return float(np.mean(values)) if values else float("nan")


def _curve(axis: Any, groups: list[list[dict[str, Any]]], name: str, colour: str, marker: str) -> None:
    """Seed mean per decoder size, joined; a point and bar per seed, dense hollow. Undefined ratios are left out."""
    x = [group[0]["decoder_values"] for group in groups]
    axis.plot(x, [_mean(group, name) for group in groups], color=colour, lw=1, alpha=0.7)
    for row in (row for group in groups for row in group if row[name] is not None):
        low, high = row.get(f"{name}_interval") or (row[name], row[name])
        bars = [[max(0.0, row[name] - low)], [max(0.0, high - row[name])]]
        fill = "white" if row["architecture"] == "dense" else colour
        style = {"fmt": marker, "color": colour, "mfc": fill, "ms": 5, "capsize": 2, "lw": 1}
        axis.errorbar(row["decoder_values"], row[name], yerr=bars, **style)


def _label(axis: Any, groups: list[list[dict[str, Any]]], name: str) -> None:
    """d at each point, above and to the right: off a falling curve, and off a rising one's bars."""
    for group in groups:
        label = "dense" if group[0]["architecture"] == "dense" else f"$d = {group[0]['d']}$"
        place = (group[0]["decoder_values"], _mean(group, name))
        shift = (-4, 9) if name != "fvu" else (6, 6)
        side = "right" if name != "fvu" else "left"
        axis.annotate(label, place, xytext=shift, textcoords="offset points", ha=side, fontsize=6.5)


def _handles() -> list[Line2D]:
    lines = [Line2D([], [], color=colour, marker=marker, lw=1, label=label) for _, label, colour, marker in _SERIES]
    fvu = Line2D([], [], color=GREEN, marker="o", lw=1, label="FVU, held out")
    hollow = Line2D([], [], color="0.3", marker="o", mfc="white", lw=0, label="hollow: dense reference")
    bar = Line2D([], [], color="0.3", marker="|", ms=9, lw=0, label="bars: 95 % bootstrap over documents")
    return [*lines, bar, fvu, hollow]


def _intervals(row: dict[str, Any]) -> dict[str, float | None]:
    return {
        f"{name}_{end}": (row[f"{name}_interval"] or (None, None))[place]
        for name in _INTERVALS
        for place, end in enumerate(("low", "high"))
    }
