"""The paper's curves over k: relative error, CE recovered, dead features and firing rates, by architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from expander_theory.plotting import BLACK, TWO_COLUMNS, Drawing, Rows, Table, degree_colours, estimate, grid, panels
from expander_theory.results import Measurement
from paper_figures.figures.saes.suite import (
    INTERVALS,
    NOTHING,
    NULL,
    Group,
    Member,
    Row,
    data_rows,
    group,
    measure,
    null_rows,
    table_rows,
)

_PANELS = (
    ("relative_error", "relative error"),
    ("recovered_zero", "CE loss recovered"),
    ("dead_share", "dead features"),
    ("median_rate", "median firing rate"),
)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the experiment has no SAE yet."""
    found = group(ledger, "sparsity")
    if found is None:
        return None
    rows = found.rows
    nulls = {k: null for k, null in found.nulls.items() if k in {row.k for row in rows}}
    shown = Group(found.identity, rows, found.note, nulls)
    note = f"{found.note} {INTERVALS} Each k at the rate of its degree. {NULL}"
    table = Table("SAEs over k", [*table_rows(shown), *null_rows(shown, list(nulls))], note)
    figures = {"sparsity": _over_k(shown), "learning_curves": _curves(shown)}
    data = {"sparsity": _flat([*rows, *nulls.values()]), "learning_curves": _steps(rows)}
    return Drawing(figures, data, {"sparsity": table})


def _flat(rows: Sequence[Measurement]) -> list[Row]:
    extra = [{name: measure(row, name) for name in ("dead_share", "median_rate")} for row in rows]
    return [a | b for a, b in zip(data_rows(rows), extra, strict=True)]


def _colour(row: Member, shades: dict[int, Any]) -> Any:
    return BLACK if row.architecture == "dense" else shades[row.d]


def _lines(found: Group) -> dict[str, list[list[Member]]]:
    """Variants by label, over k."""
    lines: dict[str, list[list[Member]]] = {}
    for _, seeds in found.variants():
        lines.setdefault(seeds[0].label, []).append(seeds)
    return {label: sorted(line, key=lambda seeds: seeds[0].k) for label, line in lines.items()}


def _over_k(found: Group) -> Figure:
    figure, axes = grid(2, 2, TWO_COLUMNS / 2, 2.2, sharex=True)
    shades = degree_colours([row.d for row in found.rows if row.architecture != "dense"])
    for axis, (name, label) in zip(axes.flat, _PANELS, strict=True):
        for text, line in _lines(found).items():
            colour = _colour(line[0][0], shades)
            k = [seeds[0].k for seeds in line]
            mean, low, high = zip(*(estimate(seeds, name) for seeds in line), strict=True)
            axis.plot(k, mean, color=colour, marker="o", ms=3.5, lw=1.2, label=text)
            axis.fill_between(k, low, high, color=colour, alpha=0.2, lw=0)
        null = [row for row in found.nulls.values() if measure(row, name) is not None]
        if null:
            axis.plot(
                [row.k for row in null], [measure(row, name) for row in null], "--", color="0.35", lw=1, label=NOTHING
            )
        axis.set_ylabel(label)
        axis.margins(y=0.12)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
    axes[1][1].set_yscale("log")
    for axis in axes[1]:
        axis.set_xlabel("$k$")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(found.place.rsplit(",", 1)[0], fontsize=9)
    return figure


def _steps(rows: list[Member]) -> Rows:
    """Training curves of the SAEs at the setting's own k."""
    return [
        {
            "name": row.name,
            "label": row.label,
            "seed": row.seed,
            "k": row.k,
            "step": step,
            "fvu": fvu,
            "dead": dead,
        }
        for row in rows
        for step, fvu, dead in row.curve
    ]


def _curves(found: Group) -> Figure:
    figure, axes = panels(2, TWO_COLUMNS / 2, 2.5)
    shades = degree_colours([row.d for row in found.rows if row.architecture != "dense"])
    own = found.identity["recipe"]["k"]
    named = set()
    for row in found.rows:
        if row.k != own:
            continue
        colour, label = _colour(row, shades), row.label if row.label not in named else None
        named.add(row.label)
        steps = [step for step, _, _ in row.curve]
        axes[0].plot(steps, [fvu for _, fvu, _ in row.curve], color=colour, lw=1.1, label=label)
        axes[1].plot(steps, [dead / row.n for _, _, dead in row.curve], color=colour, lw=1.1)
    axes[0].set(xlabel="step", ylabel="FVU of the batch", yscale="log")
    axes[1].set(xlabel="step", ylabel="features counted as dead")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(found.place, fontsize=9)
    return figure
