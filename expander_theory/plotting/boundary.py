"""Where the success rate crosses one half, over the undersampling m/n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.plotting._axes import axes_or_new
from expander_theory.plotting._curves import free_sizes, looks, names, split
from expander_theory.plotting._inputs import Place, Row, as_row, cells_of, is_place, listed
from expander_theory.simulation import Cell, boundaries
from expander_theory.statistics import weak_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ALLOWED = "a sweep's ledger (a path), its cells, or rows with m, n, 'k/m at 50 %', low and high"
_NEEDS = ("m", "n", "k/m at 50 %", "low", "high")


def plot_boundary(
    results: Place | Sequence[Cell] | Sequence[Mapping[str, Any]],
    *,
    ax: Axes | None = None,
    weak_threshold: bool = False,
    band: float = 0.15,
    **line: Any,
) -> Axes:
    """Draw the 50 % boundary in k/m over m/n, with its 95 % interval, for each kind of dictionary and setting.

    Args:
        results: the ledger of a sweep on a grid or of an adaptive one (or the folder that holds it); the cells that
            :func:`expander_theory.simulation.run_sweep` returns; or rows of
            :func:`expander_theory.simulation.boundaries`. Sizes whose fit has no boundary are left out.
        ax: where to draw; by default in a new figure, with a legend.
        weak_threshold: also draw the weak threshold of l1 minimisation (Donoho and Tanner; Gaussian dictionaries,
            signed codes, n to infinity) over the same m/n, for reference.
        band: opacity of the interval's band; 0 for none.
        line: arguments of ``Axes.plot`` for every curve, such as ``color`` or ``label``.

    Raises:
        InvalidArgument: results of another kind, or none of them has a boundary.
        InvalidFile: no such ledger, or one without a boundary.
        MissingResource: matplotlib is not installed.
    """
    rows = _rows(results)
    axes = axes_or_new(ax)
    groups = split(rows, sizes := free_sizes(rows))
    titles, styles = names(groups, sizes), looks(groups)
    for key, group in groups.items():
        label = titles[key] or "50 % boundary"
        boundary_line(axes, group, band, **{"ms": 3, "lw": 1.1, "label": label, **styles[key], **line})
    if weak_threshold:
        _weak_threshold(axes, [row["m"] / row["n"] for row in rows])
    axes.set(xlabel="undersampling $m/n$", ylabel="$k/m$ at 50 %")
    if ax is None:
        axes.legend(frameon=False)
    return axes


def boundary_line(axes: Axes, rows: Sequence[Mapping[str, Any]], band: float, **line: Any) -> None:
    """One boundary with its interval, which ends at 0 and 1 where it is open."""
    rows = sorted(rows, key=lambda row: row["m"] / row["n"])
    x = np.array([row["m"] / row["n"] for row in rows])
    centre, low, high = (np.array([row[key] for row in rows], float) for key in ("k/m at 50 %", "low", "high"))
    (drawn,) = axes.plot(x, centre, **line)
    if band:
        low, high = np.maximum(low, 0), np.minimum(high, 1)
        axes.fill_between(x, low, high, color=drawn.get_color(), alpha=band, lw=0)


def _rows(results: Any) -> list[Row]:
    if is_place(results):
        rows = fitted_rows(boundaries(cells_of(results)))
        if not rows:
            raise InvalidFile(results, "has no 50 % boundary: it takes rates on both sides of 1/2 at one size")
        return rows
    given = listed("results", results, _ALLOWED)
    if all(isinstance(item, Cell) for item in given):
        rows = boundaries(given)
    else:
        rows = [as_row("results", item, _NEEDS, _ALLOWED) for item in given]
    fitted = fitted_rows(rows)
    if not fitted:
        allowed = "must have a 50 % boundary: rates on both sides of 1/2 at one size"
        raise InvalidArgument("results", f"{len(given)} items", allowed)
    return fitted


def fitted_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows that have a boundary: those that do not say their status, and those whose fit succeeded."""
    return [row for row in rows if row.get("status", "fitted") == "fitted"]


def _weak_threshold(axes: Axes, ratios: Sequence[float]) -> None:
    ratio, sparsity = weak_curve(np.linspace(0.05, 4, 200))
    low, high = min(ratios), max(ratios)
    if low == high:
        low, high = 0.9 * low, 1.1 * high
    inside = (ratio <= high) & (ratio >= low)
    axes.plot(ratio[inside], sparsity[inside], color="k", lw=1, ls=":", label="l1, weak threshold")
