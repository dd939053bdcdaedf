"""Phase diagrams and frontiers as SVG whose cells and points carry their counts and intervals, for the report."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps, style
from matplotlib.figure import Figure

from expander_theory.plotting import BLACK, BLUE
from expander_theory.results import read_ledger
from expander_theory.simulation import cell_rows, cells
from paper_figures.figures.saes.suite import Row, estimate, group

_WIDTH, _HEIGHT = 420, 300
_LOOK = {
    "font.sans-serif": "DejaVu Sans",  # by which text is measured; the page shows it in its own font
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.labelsize": 11,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "axes.edgecolor": "#888888",
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",  # text stays text, which is smaller than its outlines
}


def phase_diagrams(ledger: Path) -> list[Markup]:
    """One SVG a family and degree: hovering over a cell gives its counts and interval."""
    _, records = read_ledger(ledger)
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in cell_rows([cell for cell in cells(records) if cell.trials]):
        groups.setdefault((row["family"], 0 if row["family"] == "dense" else row["d"]), []).append(row)
    return [_phase(family, d, rows) for (family, d), rows in groups.items()]


def _phase(family: str, d: int, rows: Sequence[Row]) -> Markup:
    title = "dense Gaussian" if family == "dense" else f"{family}, d = {d}"
    ratios = sorted({row["m"] / row["n"] for row in rows})
    borders = _borders(ratios)
    top = 1.05 * max(row["k"] / row["m"] for row in rows)
    tips = {}
    with _axes(title, "undersampling m/n", "sparsity k/m") as (figure, axis):
        axis.set(xlim=(borders[0], borders[-1]), ylim=(0, top))
        for ratio, left, width in zip(ratios, borders, np.diff(borders), strict=False):
            column = sorted((row for row in rows if row["m"] / row["n"] == ratio), key=lambda row: row["k"])
            edges = np.clip(_borders([row["k"] / row["m"] for row in column]), 0, top)
            shades = colormaps["cividis"]([row["rate"] for row in column])
            drawn = axis.bar(left, np.diff(edges), width, edges[:-1], align="edge", color=shades, clip_on=False)
            for row, cell in zip(column, drawn, strict=True):
                cell.set(gid=f"cell-{len(tips)}", in_layout=False)  # the axes hold it; measuring each would take long
                tip = f"m = {row['m']}, n = {row['n']}, k = {row['k']} (k/m = {row['k'] / row['m']:.3f}): "
                tip += f"{row['successes']} of {row['trials']} recovered, rate {row['rate']:.3f} "
                tips[f"cell-{len(tips)}"] = tip + f"[{row['exact_low']:.3f}, {row['exact_high']:.3f}]"
        return _live(figure, tips)


def frontier(ledger: Path) -> list[Markup]:
    """CE recovered against decoder values, where it is known: hovering over a point gives its numbers."""
    found = group(ledger, "frontier")
    estimates = [] if found is None else [(s, *estimate(s, "recovered_zero")) for _, s in found.variants()]
    points = [point for point in estimates if not math.isnan(point[1])]
    if found is None or not points:
        return []
    values = [seeds[0].decoder_values for seeds, *_ in points]
    tips = {}
    with _axes(found.model, "learned decoder values", "CE loss recovered") as (figure, axis):
        axis.set(xscale="log", xlim=(0.7 * min(values), 1.4 * max(values)))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.margins(y=0.06)
        for seeds, mean, low, high in points:
            first, gid = seeds[0], f"point-{len(tips)}"
            at, colour = first.decoder_values, BLACK if first.architecture == "dense" else BLUE
            axis.vlines(at, low, high, color=colour, lw=1, clip_on=False)
            axis.scatter(at, mean, s=100, color=colour, linewidths=0, zorder=3, clip_on=False, gid=gid)
            place = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center"}
            axis.annotate(first.label, (at, mean), fontsize=10, parse_math=False, **place)
            tip = f"{first.label}: {at:,} decoder values, {first.bytes_packed / 1000:,.0f} KB packed; "
            tip += f"CE recovered {mean:.4f} [{low:.4f}, {high:.4f}], FVU {estimate(seeds, 'fvu')[0]:.4f}, "
            tips[gid] = tip + f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"
        return [_live(figure, tips)]


def _borders(centres: Sequence[float]) -> np.ndarray:
    """Of cells, half-way between their centres."""
    if len(centres) == 1:
        return np.array([0.9, 1.1]) * centres[0]
    middle = np.convolve(centres, (0.5, 0.5), "valid")
    return np.array([2 * centres[0] - middle[0], *middle, 2 * centres[-1] - middle[-1]])


@contextmanager
def _axes(title: str, x_label: str, y_label: str) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes, to be drawn and rendered within: in the same look, whatever was drawn before."""
    name = f"{title}: {y_label} against {x_label}"
    with style.context(["default", {**_LOOK, "svg.hashsalt": name}]):  # ids differ between the figures of a page
        figure = Figure((_WIDTH / 72, _HEIGHT / 72), label=name)
        axis = figure.subplots()
        for background in (figure.patch, axis.patch):
            background.set_visible(False)
        axis.set_title(title, parse_math=False)
        axis.set(xlabel=x_label, ylabel=y_label)
        yield figure, axis


def _live(figure: Figure, tips: Mapping[str, str]) -> Markup:
    """SVG for an HTML page, named by the figure's label, with a tip on every artist whose gid has one."""
    file = io.StringIO()
    figure.savefig(file, format="svg")
    root = ElementTree.fromstring(file.getvalue())
    for unneeded in ("{*}metadata", "{*}defs/{*}style/.."):  # a date; a style that would hold for the whole page
        for element in root.findall(unneeded):
            root.remove(element)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # HTML knows SVG without namespaces
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        element.text, element.tail = (element.text or "").strip(), None
        if element.tag == "g":
            tip = tips.get(element.attrib.pop("id", ""))  # other groups are named alike in every figure
            element.attrib |= {} if tip is None else {"class": "tip", "tabindex": "0", "data-tip": tip}
    name = str(figure.get_label())
    root.attrib = {"viewBox": root.attrib["viewBox"], "class": "live", "role": "img", "aria-label": name}
    return Markup(ElementTree.tostring(root, encoding="unicode"))
