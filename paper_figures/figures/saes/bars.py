"""Variants of one experiment as horizontal rows: fidelity with intervals, seeds, dead features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from expander_theory.plotting import BLUE, TWO_COLUMNS, estimate, panels
from paper_figures.figures.saes.suite import Group, Member, measure

MEASURES = (("recovered_zero", "CE loss recovered"), ("fvu", "FVU"), ("dead_share", "dead features"))


def rows_of_bars(found: Group, colour: Callable[[Member], Any], reference: str) -> Figure:
    """A panel for each measure, a row for each variant; the reference's value as a line through all of them."""
    variants = list(found.variants())
    figure, axes = panels(len(MEASURES), TWO_COLUMNS / len(MEASURES), 0.9 + 0.19 * len(variants), sharey=True)
    for axis, (name, label) in zip(axes, MEASURES, strict=True):
        for place, (variant, seeds) in enumerate(variants):
            mean, low, high = estimate(seeds, name)
            shade = colour(seeds[0])
            axis.errorbar(
                [mean], [place], xerr=[[mean - low], [high - mean]], fmt="o", color=shade, ms=4.5, capsize=2, lw=1
            )
            if len(seeds) > 1:
                axis.plot(
                    [measure(row, name) for row in seeds], [place] * len(seeds), ".", color=shade, ms=3, alpha=0.5
                )
            if variant == reference:
                axis.axvline(mean, color=BLUE, lw=0.7, ls=":")
        axis.set_xlabel(label)
        axis.grid(axis="y", lw=0.3, alpha=0.6)
        axis.margins(x=0.12)
    axes[0].set_yticks(range(len(variants)), [seeds[0].label for _, seeds in variants], size=7.5)
    axes[0].invert_yaxis()
    figure.suptitle(found.place, fontsize=9)
    return figure
