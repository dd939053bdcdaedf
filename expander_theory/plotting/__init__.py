"""Drawings of results: functions that take ledgers or objects and return matplotlib Axes, and whole figures of them.

Importing this wing does not import matplotlib; drawing does.
"""

from expander_theory.plotting.boundary import plot_boundary
from expander_theory.plotting.certified import plot_certified
from expander_theory.plotting.drawings.draw import Stale, check_all, draw_all, draw_named, figures_folder
from expander_theory.plotting.drawings.output import FORMATS, Drawing, Rows, Table, write
from expander_theory.plotting.drawings.reading import readable
from expander_theory.plotting.drawings.sources import Drawings, Source, all_drawings, figure_sources
from expander_theory.plotting.estimates import bar, estimate
from expander_theory.plotting.frames import to_dataframe
from expander_theory.plotting.frontier import plot_frontier
from expander_theory.plotting.phase_diagram import plot_phase_diagram
from expander_theory.plotting.recovery_curves import plot_recovery_curves
from expander_theory.plotting.style import (
    BLACK,
    BLUE,
    FAMILIES,
    GREEN,
    GREY,
    METHODS,
    ONE_COLUMN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    TWO_COLUMNS,
    degree_colours,
    grid,
    panels,
)

__all__ = [
    "BLACK",
    "BLUE",
    "FAMILIES",
    "FORMATS",
    "GREEN",
    "GREY",
    "METHODS",
    "ONE_COLUMN",
    "ORANGE",
    "PURPLE",
    "RED",
    "SKY",
    "TWO_COLUMNS",
    "Drawing",
    "Drawings",
    "Rows",
    "Source",
    "Stale",
    "Table",
    "all_drawings",
    "bar",
    "check_all",
    "degree_colours",
    "draw_all",
    "draw_named",
    "estimate",
    "figure_sources",
    "figures_folder",
    "grid",
    "panels",
    "plot_boundary",
    "plot_certified",
    "plot_frontier",
    "plot_phase_diagram",
    "plot_recovery_curves",
    "readable",
    "to_dataframe",
    "write",
]
