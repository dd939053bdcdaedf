"""Look of all figures: sizes, fonts that come with matplotlib, and one colour for each method and family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: distinct for every common form of colour blindness.
BLUE, ORANGE, GREEN, RED, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#000000"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#7F7F7F"

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9
"""Widths, in inches, of a figure in one column of a page and across both."""

METHODS = {
    "encoder": BLACK,
    "least_squares": GREY,
    "least_squares_nonnegative": GREY,
    "mp": GREEN,
    "omp": BLUE,
    "omp_nonnegative": SKY,
    "gomp": ORANGE,
    "niht": PURPLE,
    "cosamp": RED,
}
"""Colour of a way to find codes."""

FAMILIES = {
    "uniform": BLUE,
    "biregular": GREEN,
    "polynomial": ORANGE,
    "euler-square": ORANGE,
    "overlap-limited": PURPLE,
    "dense": BLACK,
}
"""Colour of a family of dictionaries."""

_RC: dict[str, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "expander-theory",
    "savefig.dpi": 200,
}


def panels(count: int, width: float = 3.4, height: float = 2.9, **options: Any) -> tuple[Figure, Any]:
    """A figure of ``count`` panels side by side, sizes in inches."""
    figure, axes = grid(1, count, width, height, **options)
    return figure, axes[0]


def grid(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """A figure of ``rows`` by ``columns`` panels, sizes of one panel in inches.

    It sets matplotlib's parameters for this process; what draws for others restores theirs.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(_RC)  # type: ignore[call-overload]
    figure = Figure(figsize=(width * columns, height * rows))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def degree_colours(degrees: list[int]) -> dict[int, Any]:
    """A colour for each degree, from dark (small) to light (large)."""
    import matplotlib

    order = sorted(set(degrees))
    shades = matplotlib.colormaps["viridis"]
    return {d: shades(0.88 * place / max(1, len(order) - 1)) for place, d in enumerate(order)}
