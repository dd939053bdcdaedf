"""Does a mask whose columns share at most one row cost fidelity against a random one? Same degrees, same seeds."""

from __future__ import annotations

from pathlib import Path

from expander_theory.plotting import FAMILIES, Drawing, Table, bar, panels
from paper_figures.figures.saes.suite import (
    INTERVALS,
    NULL,
    data_rows,
    group,
    null_label,
    null_line,
    null_rows,
    table_rows,
)

_MEASURES = (("recovered_zero", "CE loss recovered"), ("fvu", "FVU"))
_NAMES = {"uniform": "uniform random mask", "euler-square": "overlap at most 1 (Latin squares)"}


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the experiment has no SAE yet."""
    found = group(ledger, "certified-mask")
    if found is None:
        return None
    variants = [seeds for _, seeds in found.variants()]
    degrees = sorted({seeds[0].d for seeds in variants})
    figure, axes = panels(2, width=3.4, height=2.5)
    for axis, (name, label) in zip(axes, _MEASURES, strict=True):
        for seeds in variants:
            family = seeds[0].family
            x = degrees.index(seeds[0].d) + (0.12 if family != "uniform" else -0.12)
            bar(axis, x, seeds, name, FAMILIES[family], "s" if family != "uniform" else "o")
        null_line(axis, found, name)
        axis.set_xticks(range(len(degrees)), [str(d) for d in degrees])
        axis.set(xlabel="$d$", ylabel=label, xlim=(-0.6, len(degrees) - 0.4))
    for family, text in _NAMES.items():
        axes[0].plot([], [], "s" if family != "uniform" else "o", color=FAMILIES[family], ms=4.5, label=text)
    null_label(axes[0], found)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(found.place, fontsize=9)
    title = "Certified masks against random ones"
    table = Table(title, [*table_rows(found), *null_rows(found)], f"{found.note} {INTERVALS} {NULL}")
    return Drawing(
        {"certified_mask": figure},
        {"certified_mask": data_rows(found.with_null)},
        {"certified_mask": table},
    )
