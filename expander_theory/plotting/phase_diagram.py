"""Success rates over undersampling m/n and sparsity k/m, as a heat map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from expander_theory.base import InvalidArgument
from expander_theory.dictionaries import Ensemble
from expander_theory.plotting._axes import axes_or_new
from expander_theory.plotting._curves import degree, family_name, free_sizes, names, plain, solver_name, split
from expander_theory.plotting._inputs import Place, cells_of, is_place, listed, stored_records
from expander_theory.plotting.boundary import boundary_line
from expander_theory.plotting.style import RED
from expander_theory.results import CertificateRecord, records_of
from expander_theory.simulation import Cell, boundaries, cell_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

Sizes = Mapping[tuple[int, int], float]
_ALLOWED = "a sweep's ledger (a path) or its cells"
_TITLES = {
    "uniform": "expander",
    "dense": "dense Gaussian",
}


def plot_phase_diagram(
    results: Place | Sequence[Cell],
    *,
    ax: Axes | None = None,
    family: str | None = None,
    d: int | None = None,
    boundary: Sequence[Mapping[str, Any]] | None = None,
    certified: Sizes | None = None,
    colorbar: bool = True,
) -> Axes:
    """Draw the success rates of one kind of dictionary over (m/n, k/m), the fitted 50 % boundary and certified k/m.

    Args:
        results: the ledger of a sweep (or the folder that holds it), or the cells that
            :func:`expander_theory.simulation.run_sweep` returns. They must be of one kind of dictionary and of one
            law of codes, noise and solver, since each place shows one rate.
        ax: where to draw; by default in a new figure, with a legend.
        family: choose this family of masks, or "dense".
        d: choose this degree.
        boundary: rows of :func:`expander_theory.simulation.boundaries` for these cells; by default they are fitted.
            An empty list draws none.
        certified: the k that is certified for every code, by (m, n); by default the median over the dictionaries that
            the sweep drew for this, if ``results`` is a ledger. An empty one draws none.
        colorbar: add a bar that explains the colours, which takes its place from ``ax``.

    Raises:
        InvalidArgument: results of another kind, or cells of several kinds or of none.
        InvalidFile: no such ledger, or one without trials.
        MissingResource: matplotlib is not installed.
    """
    counted = cells_of(results) if is_place(results) else listed("results", results, _ALLOWED)  # type: ignore[arg-type]
    for cell in counted:
        if not isinstance(cell, Cell):
            raise InvalidArgument("results", f"holds a {type(cell).__name__}", f"must be {_ALLOWED}")
    chosen = _one_kind(counted, family, d)
    axes = axes_or_new(ax)
    ensemble = chosen[0].task.ensemble
    if certified is None:
        kind = (ensemble.label, degree({"family": ensemble.label, "d": ensemble.d, "m": ensemble.m}))
        certified = certified_sizes(stored_records(results)).get(kind, {}) if is_place(results) else {}  # type: ignore[arg-type]
    _heat_map(axes, chosen)
    fitted = [row for row in (boundaries(chosen) if boundary is None else boundary) if row["status"] == "fitted"]
    if fitted:
        style = {"color": RED, "lw": 1.8, "marker": "o", "ms": 3, "label": "fitted 50 % boundary, 95 % interval"}
        boundary_line(axes, fitted, 0.35, **style)
    if certified:
        points = sorted((m / n, k / m) for (m, n), k in certified.items())
        label = "certified for every code (Babel; median over drawn dictionaries)"
        axes.plot(*zip(*points, strict=True), "k--", marker="s", ms=3, lw=1.3, label=label, clip_on=False)
    axes.set_ylabel("sparsity $k/m$")
    figure = axes.get_figure()
    if colorbar and figure is not None:
        task = chosen[0].task
        label = f"success ({plain(task.success.label)}), {solver_name(task.solver_label)}"
        figure.colorbar(rate_colours(), ax=axes, label=label, pad=0.02)
    if ax is None and axes.get_legend_handles_labels()[0] and figure is not None:
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
    return axes


def rate_colours() -> ScalarMappable:
    """The colours of rates from 0 to 1, for a colour bar that several panels share."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, 1), "cividis")


def certified_sizes(records: Iterable[Any]) -> dict[tuple[str, int], dict[tuple[int, int], float]]:
    """By family and degree (0 for dense), and by (m, n): the median certified k over the dictionaries drawn."""
    found: dict[tuple[str, int], dict[tuple[int, int], list[int]]] = defaultdict(lambda: defaultdict(list))
    for record in records_of(records, CertificateRecord):
        kind = record.family, degree({"family": record.family, "d": record.d, "m": record.m})
        found[kind][record.m, record.n].append(record.certified_k)
    return {kind: {size: median(ks) for size, ks in sizes.items()} for kind, sizes in found.items()}


def _one_kind(counted: Sequence[Cell], family: str | None, d: int | None) -> list[Cell]:
    rows = cell_rows(counted)
    there = ", ".join(dict.fromkeys(family_name(row["family"], row["d"]) for row in rows)).replace("$", "")
    chosen = [
        (cell, row)
        for cell, row in zip(counted, rows, strict=True)
        if family in (None, row["family"]) and d in (None, row["d"])
    ]
    if not chosen:
        asked = family if d is None else d if family is None else f"{family}, d = {d}"
        raise InvalidArgument("d" if family is None else "family", asked, f"must be one of these results: {there}")
    kept = [row for _, row in chosen]
    groups = split(kept, sizes := free_sizes(kept))
    if len(groups) > 1:
        found = "; ".join(names(groups, sizes).values()).replace("$", "")
        allowed = "must be of one kind: choose one by family= and d=, or pass the cells of one"
        raise InvalidArgument("results", f"cells of {len(groups)} kinds ({found})", allowed)
    return [cell for cell, _ in chosen]


def _heat_map(axes: Axes, group: Sequence[Cell]) -> None:
    """Rate per cell; each column of cells keeps its own k/m, which rounding makes slightly uneven."""
    columns: dict[tuple[int, int], list[Cell]] = defaultdict(list)
    for cell in group:
        columns[cell.task.ensemble.m, cell.task.ensemble.n].append(cell)
    order = sorted(columns, key=lambda size: size[0] / size[1])
    edges = _edges([m / n for m, n in order])
    for left, right, (m, n) in zip(edges[:-1], edges[1:], order, strict=True):
        column = sorted(columns[m, n], key=lambda cell: cell.task.k)
        rates = np.array([[cell.successes / max(1, cell.trials)] for cell in column])
        heights = np.maximum(0, _edges([cell.task.k / m for cell in column]))
        axes.pcolormesh([left, right], heights, rates, vmin=0, vmax=1, cmap="cividis", rasterized=True)
    ensemble, widths = group[0].task.ensemble, {n for _, n in order}
    fixed = f"$n = {ensemble.n}$" if len(widths) == 1 else f"$m = {ensemble.m}$"
    top = max(cell.task.k / cell.task.ensemble.m for cell in group)
    axes.set(xlabel=f"undersampling $m/n$  ({fixed})", ylim=(0, 1.04 * top))
    axes.set_title(_title(ensemble))


def _title(ensemble: Ensemble) -> str:
    if ensemble.plugin is not None:
        return family_name(ensemble.label, degree({"d": ensemble.d, "m": ensemble.m}))
    kind = _TITLES.get(ensemble.family, plain(ensemble.family))
    return kind if ensemble.family == "dense" else f"{kind} mask, $d = {ensemble.d}$, {ensemble.values}"


def _edges(centres: list[float]) -> np.ndarray:
    """Cell borders half-way between the centres."""
    values = np.array(centres)
    if values.size == 1:
        return np.array([values[0] * 0.9, values[0] * 1.1])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[values[0] - (middle[0] - values[0])], middle, [values[-1] + (values[-1] - middle[-1])]])
