"""Look of all figures, and saving them reproducibly."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinct for every common form of colour blindness.
BLUE, ORANGE, GREEN, RED, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#000000"

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
    """A figure of ``rows`` by ``columns`` panels, sizes of one panel in inches."""
    plt.rcdefaults()
    matplotlib.rcParams.update(_RC)  # type: ignore[call-overload]
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    return figure, axes


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``path`` as .png and .pdf without dates, so that the same data give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None, "Producer": None, "Creator": None})
    plt.close(figure)
    return [path.with_suffix(".png"), path.with_suffix(".pdf")]
