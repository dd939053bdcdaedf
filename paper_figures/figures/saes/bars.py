"""Variants of one experiment as horizontal rows: fidelity with intervals, seeds, dead features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from expander_theory.plotting import BLUE, TWO_COLUMNS, estimate, panels
from paper_figures.figures.saes.suite import Group, Member, measure, null_label, null_line

MEASURES = (("recovered_zero", "CE loss recovered"), ("fvu", "FVU"), ("dead_share", "dead features"))


_LEAST = 0.01
"""Half the width of an axis on which all rows are the same."""


def rows_of_bars(found: Group, colour: Callable[[Member], Any], reference: str) -> Figure:
    """A panel for each measure, a row for each variant; the reference's value and the null's as lines."""
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
        null_line(axis, found, name, upright=True)
        axis.set_xlabel(label)
        axis.grid(axis="y", lw=0.3, alpha=0.6)
        axis.margins(x=0.12)
        low, high = axis.get_xlim()
        if high - low < _LEAST:  # all the same, such as no dead feature at all
            axis.set_xlim(low - _LEAST, high + _LEAST)
    axes[0].set_yticks(range(len(variants)), [seeds[0].label for _, seeds in variants], size=7.5)
    axes[0].invert_yaxis()
    if found.null is not None:
        null_label(axes[0], found)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False)
    figure.suptitle(found.place, fontsize=9)
    return figure
