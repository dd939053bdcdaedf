"""Phase diagrams and frontiers as SVG whose cells and points carry their counts and intervals, for the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.colors import to_hex

from expander_theory.plotting import BLACK, BLUE
from expander_theory.results import read_ledger
from expander_theory.simulation import cell_rows, cells
from paper_figures.figures.saes.suite import estimate, group

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 28, 44


@dataclass(frozen=True)
class Scale:
    """Values to pixels along one axis, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """A few round values."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**e for e in range(first, last + 1)] or [self.low, self.high]
        step = 10 ** math.floor(math.log10((self.high - self.low) or 1))
        while (self.high - self.low) / step < 3:
            step /= 2
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, int(self.high / step + 1e-9) + 1)]


def phase_diagrams(ledger: Path) -> list[str]:
    """One SVG a family and degree: hovering over a cell gives its counts and interval."""
    _, records = read_ledger(ledger)
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in cell_rows([cell for cell in cells(records) if cell.trials]):
        groups.setdefault((row["family"], 0 if row["family"] == "dense" else row["d"]), []).append(row)
    return [_phase(family, d, rows) for (family, d), rows in groups.items()]


def _phase(family: str, d: int, rows: Sequence[dict[str, Any]]) -> str:
    shades = matplotlib.colormaps["cividis"]
    ratios = sorted({row["m"] / row["n"] for row in rows})
    x_edges = _edges(ratios)
    top = 1.05 * max(row["k"] / row["m"] for row in rows)
    x = Scale(x_edges[0], x_edges[-1], _LEFT, _WIDTH - _RIGHT)
    y = Scale(0, top, _HEIGHT - _BOTTOM, _TOP)
    parts = []
    for ratio, left, right in zip(ratios, x_edges[:-1], x_edges[1:], strict=True):
        column = sorted((row for row in rows if row["m"] / row["n"] == ratio), key=lambda row: row["k"])
        edges = [max(0.0, edge) for edge in _edges([row["k"] / row["m"] for row in column])]
        for row, low, high in zip(column, edges[:-1], edges[1:], strict=True):
            tip = f"m = {row['m']}, n = {row['n']}, k = {row['k']} (k/m = {row['k'] / row['m']:.3f}): "
            tip += f"{row['successes']} of {row['trials']} recovered, rate {row['rate']:.3f} "
            tip += f"[{row['exact_low']:.3f}, {row['exact_high']:.3f}]"
            parts.append(
                f'<rect class="tip" tabindex="0" x="{x(left):.1f}" y="{y(high):.1f}" width="{x(right) - x(left):.1f}" '
                f'height="{y(low) - y(high):.1f}" fill="{to_hex(shades(row["rate"]))}" data-tip="{escape(tip)}"/>'
            )
    title = "dense Gaussian" if family == "dense" else f"{family}, d = {d}"
    return _svg(title, x, y, "undersampling m/n", "sparsity k/m", parts)


def frontier(ledger: Path) -> str | None:
    """CE recovered against decoder values: hovering over a point gives its numbers."""
    found = group(ledger, "frontier")
    if found is None:
        return None
    points = []
    for _, seeds in found.variants():
        mean, low, high = estimate(seeds, "recovered_zero")
        if not math.isnan(mean):
            points.append((seeds, mean, low, high))
    if not points:
        return None
    values = [seeds[0].decoder_values for seeds, *_ in points]
    least, most = min(low for *_, low, _ in points), max(high for *_, high in points)
    pad = 0.06 * ((most - least) or 1)
    x = Scale(0.7 * min(values), 1.4 * max(values), _LEFT, _WIDTH - _RIGHT, log=True)
    y = Scale(least - pad, most + pad, _HEIGHT - _BOTTOM, _TOP)
    parts = []
    for seeds, mean, low, high in points:
        first = seeds[0]
        dense = first.architecture == "dense"
        at, colour = x(first.decoder_values), BLACK if dense else BLUE
        size = f"{first.decoder_values:,} decoder values, {first.bytes_packed / 1000:,.0f} KB packed"
        tip = f"{first.label}: {size}; "
        tip += f"CE recovered {mean:.4f} [{low:.4f}, {high:.4f}], FVU {estimate(seeds, 'fvu')[0]:.4f}, "
        tip += f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}" stroke="{colour}"/>')
        parts.append(
            f'<circle class="tip" tabindex="0" cx="{at:.1f}" cy="{y(mean):.1f}" r="5" fill="{colour}" '
            f'data-tip="{escape(tip)}"/>'
        )
        name = escape(first.label)
        parts.append(f'<text x="{at:.1f}" y="{y(mean) - 9:.1f}" text-anchor="middle" font-size="10">{name}</text>')
    return _svg(found.model, x, y, "learned decoder values", "CE loss recovered", parts)


def _edges(centres: Sequence[float]) -> list[float]:
    """Cell borders half-way between the centres."""
    if len(centres) == 1:
        return [centres[0] * 0.9, centres[0] * 1.1]
    middle = [(a + b) / 2 for a, b in pairwise(centres)]
    return [2 * centres[0] - middle[0], *middle, 2 * centres[-1] - middle[-1]]


def _svg(title: str, x: Scale, y: Scale, x_label: str, y_label: str, parts: Sequence[str]) -> str:
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    frame = [f'<text x="{middle_x}" y="16" text-anchor="middle" font-size="13">{escape(title)}</text>']
    for tick in x.ticks():
        frame.append(f'<text x="{x(tick):.1f}" y="{y.start + 15:.1f}" text-anchor="middle">{_number(tick)}</text>')
        frame.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{y.start}" y2="{y.start + 4}" stroke="#888"/>')
    for tick in y.ticks():
        frame.append(f'<text x="{x.start - 7}" y="{y(tick) + 3:.1f}" text-anchor="end">{_number(tick)}</text>')
        frame.append(f'<line x1="{x.start - 4}" x2="{x.start}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#888"/>')
    frame.append(f'<text x="{middle_x}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    turned = f'transform="rotate(-90 12 {middle_y})"'
    frame.append(f'<text x="12" y="{middle_y}" text-anchor="middle" {turned}>{escape(y_label)}</text>')
    frame.append(f'<path d="M{x.start} {y.end}V{y.start}H{x.end}" fill="none" stroke="#888"/>')
    name = escape(f"{title}: {y_label} against {x_label}")
    inner = "".join([*parts, *frame])
    head = f'<svg class="live" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}" font-size="11">'
    return f"{head}{inner}</svg>"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
