"""Every model and layer that was run, beside the published ones: CE recovered relative to dense, against m / d."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expander_theory.plotting import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ONE_COLUMN,
    ORANGE,
    PURPLE,
    RED,
    Drawing,
    Table,
    estimate,
    panels,
)
from paper_figures.figures.saes.suite import Group, group
from paper_figures.published import PUBLISHED, SOURCE

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, BLACK)
_NULL = "coordinate null"
_MARKERS = "osv^D*P"
NOTE = (
    "Ratio: CE loss recovered (zero ablation) by the expander SAE over that by the dense one of the same seed, paired "
    f"95 % bootstrap over documents. Published: {SOURCE}; dense with a warm-started untied encoder. Sizes, steps and "
    "text differ between the two: their levels can be compared, their differences not. Dotted, in a model's colour: "
    "the coordinate null of the same k (h less its mean, of which the k largest coordinates are kept), which has "
    "learned nothing, over the mean of the dense SAEs. Of the published settings it is not known."
)


def draw(*ledgers: Path) -> Drawing | None:
    """Draw from suites' ledgers of any models and layers; None where none has a frontier."""
    found = [g for g in (group(ledger, "frontier") for ledger in ledgers) if g is not None]
    rows = [row for g in found for row in _rows(g)]
    if not rows:
        return None
    figure, (axis,) = panels(1, 1.6 * ONE_COLUMN, 3.0)
    for name in dict.fromkeys((p.model, p.layer) for p in PUBLISHED):
        line = sorted((p for p in PUBLISHED if (p.model, p.layer) == name), key=lambda p: p.m / p.d)
        place = list(dict.fromkeys((p.model, p.layer) for p in PUBLISHED)).index(name)
        axis.plot([p.m / p.d for p in line], [p.ratio for p in line], color=GREY, marker=_MARKERS[place], mfc="white",
                  ms=4, lw=0.8, ls="--", label=f"{name[0]}, layer {name[1]} (published)")  # fmt: skip
    for colour, name in zip(_COLOURS, dict.fromkeys((r["model"], r["layer"]) for r in rows), strict=False):
        own = [r for r in rows if (r["model"], r["layer"]) == name]
        for null in (r for r in own if r["source"] == _NULL):
            axis.axhline(null["ratio"], color=colour, lw=0.9, ls=":", zorder=0)
        line = sorted((r for r in own if r["source"] != _NULL), key=lambda r: r["m/d"])
        bars = [[r["ratio"] - r["low"] for r in line], [r["high"] - r["ratio"] for r in line]]
        axis.errorbar([r["m/d"] for r in line], [r["ratio"] for r in line], yerr=bars, color=colour, marker="o", ms=4,
                      capsize=2, lw=1.2, label=f"{name[0]}, layer {name[1]}")  # fmt: skip
    if any(r["source"] == _NULL for r in rows):
        axis.plot([], [], ":", color="0.35", lw=0.9, label="nothing learned there: coordinates")
    axis.set(xscale="log", xlabel="$m/d$: times fewer decoder values", ylabel="CE recovered, relative to dense")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=7)
    published = [
        {"model": p.model, "layer": p.layer, "m": p.m, "d": p.d, "m/d": p.m / p.d, "CE recovered": p.recovered,
         "ratio": p.ratio, "low": None, "high": None, "seeds": 3, "source": "published"}
        for p in PUBLISHED
    ]  # fmt: skip
    table = Table("Models and layers", [*rows, *published], NOTE)
    return Drawing({"cross_model": figure}, {"cross_model": [*rows, *published]}, {"cross_model": table})


def _rows(found: Group) -> list[dict[str, Any]]:
    rows = []
    for _, seeds in found.variants():
        first = seeds[0]
        ratio, low, high = estimate(seeds, "ratio")
        if first.architecture != "dense" and ratio == ratio:
            about = {"model": found.model, "layer": found.identity["layer"], "m": first.m, "d": first.d}
            numbers = {"m/d": first.m / first.d, "CE recovered": estimate(seeds, "recovered_zero")[0]}
            numbers |= {"ratio": ratio, "low": low, "high": high, "seeds": len(seeds), "source": "these results"}
            rows.append(about | numbers)
    dense = [seeds for _, seeds in found.variants() if seeds[0].architecture == "dense"]
    if rows and dense and found.null is not None and found.null.recovered_zero is not None:
        recovered = found.null.recovered_zero
        numbers = {"m": found.null.m, "d": 1, "m/d": None, "CE recovered": recovered}
        ratio = recovered / estimate(dense[0], "recovered_zero")[0]
        about = {"model": found.model, "layer": found.identity["layer"]}
        rows.append(about | numbers | {"ratio": ratio, "low": None, "high": None, "seeds": 1, "source": _NULL})
    return rows
