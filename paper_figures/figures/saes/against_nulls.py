"""Where a code that has learned nothing is beaten: SAEs and nulls over k, a column for each model and layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from expander_theory.plotting import BLACK, GREY, RED, Drawing, Table, degree_colours, estimate, grid
from expander_theory.results import NullRecord
from paper_figures.figures.saes.suite import (
    INTERVALS,
    NOTHING,
    NULL_STYLE,
    Group,
    Member,
    Row,
    data_rows,
    group,
    measure,
    shown,
)
from paper_figures.published import GEOMETRY

_MEASURES = (
    ("recovered_zero", "CE loss recovered"),
    ("fvu", "FVU"),
    ("effective_degree", "effective degree"),
)
_NULLS: dict[str, dict[str, Any]] = {
    NOTHING: NULL_STYLE,
    "untrained mask, OMP": {**NULL_STYLE, "ls": "-."},
}
_APART = 2**0.06
"""Factor in k between SAEs of one k, so that their intervals can be told apart."""

BEATEN = (
    "Beaten: the SAE's CE is clearly below that of the coordinate null of the same k (paired 95 % bootstrap over "
    "documents), and its FVU is below the null's too."
)
NOTE = (
    f"{BEATEN} The coordinate null keeps the k largest coordinates of h less its mean; untrained: random values on "
    "the mask, OMP as the encoder. Effective degree: mean of 1 / sum w^4 over unit columns, weighted by the energy "
    "that they carry; 1 for one-hot columns. "
    f"{INTERVALS} {GEOMETRY}"
)


def draw(*ledgers: Path) -> Drawing | None:
    """Draw from suites' ledgers of any models and layers; None where none has been set against the nulls."""
    found = places(ledgers)
    if not found:
        return None
    rows = [row for place in found for row in _table_rows(place)]
    data = [row for place in found for row in _data_rows(place)]
    table = Table("SAEs against codes that have learned nothing", rows, NOTE)
    return Drawing({"against_nulls": _figure(found)}, {"against_nulls": data}, {"against_nulls": table})


def places(ledgers: Sequence[Path]) -> list[Group]:
    """The SAEs of each model and layer that was set against the nulls, in the order of models and layers."""
    found = [g for g in (group(ledger, "nulls") for ledger in ledgers) if g is not None]
    return sorted(found, key=lambda g: (g.model, g.identity["layer"], g.identity["setting"]))


def title(found: Group) -> str:
    """Model and layer."""
    return f"{found.model}, layer {found.identity['layer']}"


def lines(found: Group) -> dict[str, list[list[Member]]]:
    """The SAEs of each recipe by its label, over k, the seeds of one k together."""
    by_label: dict[str, list[list[Member]]] = {}
    for _, seeds in found.variants():
        by_label.setdefault(seeds[0].label, []).append(seeds)
    return {label: sorted(line, key=lambda seeds: seeds[0].k) for label, line in by_label.items()}


def beats(seeds: Sequence[Member], found: Group) -> bool:
    """Whether SAEs of one k beat the coordinate null, as :data:`BEATEN` says; False where it was not measured."""
    null = found.nulls.get(seeds[0].k)
    return null is not None and estimate(seeds, "ce_above_null")[2] < 0 and estimate(seeds, "fvu")[0] < null.fvu


def _nulls(found: Group) -> Iterator[tuple[str, list[NullRecord]]]:
    """The nulls that are drawn, by name, over k: of the untrained ones that of the mask that most k have."""
    untrained = [row for row in found.others if row.code == "untrained"]
    sizes = [(row.d, row.n) for row in untrained]
    own = max(sizes, key=sizes.count, default=None)
    chosen = (
        list(found.nulls.values()),
        [row for row in untrained if (row.d, row.n) == own],
    )
    for name, rows in zip(_NULLS, chosen, strict=True):
        if rows:
            yield name, sorted(rows, key=lambda row: row.k)


def _effective_degree(row: Member) -> float:
    degree = row.collapse.effective_degree if row.collapse else None
    return math.nan if degree is None else degree


def _value(seeds: Sequence[Member], name: str) -> tuple[float, float, float]:
    if name != "effective_degree":
        return estimate(seeds, name)
    return estimate([{name: _effective_degree(row)} for row in seeds], name)


def _looks(found: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each recipe: plain ones by degree."""
    looks: dict[str, dict[str, Any]] = {}
    firsts = {label: line[0][0] for place in found for label, line in lines(place).items()}
    shades = degree_colours([row.d for row in firsts.values() if row.architecture != "dense"])
    for label, row in firsts.items():
        if row.architecture == "dense":
            looks[label] = {"color": BLACK, "marker": "s"}
        else:
            pursued = row.encoder != "tied"
            looks[label] = {"color": RED if pursued else shades[row.d], "marker": "D" if pursued else "o"}
    return looks


def _figure(found: Sequence[Group]) -> Figure:
    heights = {"height_ratios": (3, 3, 1.8)}
    figure, axes = grid(3, len(found), max(1.9, 5 / len(found)), 2.1, sharex="col", gridspec_kw=heights)
    looks = _looks(found)
    for column, place in enumerate(found):
        for axis, (name, label) in zip(axes[:, column], _MEASURES, strict=True):
            for text, rows in _nulls(place):
                known = [row for row in rows if measure(row, name) is not None]
                axis.plot([row.k for row in known], [measure(row, name) for row in known], **_NULLS[text])
            for offset, (text, line) in enumerate(lines(place).items()):
                _points(axis, place, line, name, looks[text], _APART ** (offset - 1))
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
            if column == 0:
                axis.set_ylabel(label)
        axes[0][column].set_title(title(place), fontsize=9)
        for axis in axes[1:, column]:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
        axes[2][column].set_xlabel("$k$")
        axes[2][column].axhline(1, color=GREY, lw=0.8, zorder=0)
    figure.legend(
        handles=_handles(found, looks), loc="outside lower center", ncols=2 if len(found) < 4 else 4, frameon=False
    )
    return figure


def _points(
    axis: Any, found: Group, line: Sequence[Sequence[Member]], name: str, look: dict[str, Any], shift: float
) -> None:
    """SAEs of one recipe over k with their intervals: filled where they beat the null, hollow where not."""
    spots = [(seeds[0].k * shift, *_value(seeds, name), beats(seeds, found)) for seeds in line]
    axis.plot([x for x, *_ in spots], [mean for _, mean, *_ in spots], color=look["color"], lw=0.7, alpha=0.6)
    for x, mean, low, high, filled in spots:
        if not math.isnan(mean):
            axis.errorbar([x], [mean], yerr=[[mean - low], [high - mean]], fmt=look["marker"], color=look["color"],
                          mfc=look["color"] if filled else "white", ms=4, capsize=1.5, lw=0.9)  # fmt: skip


def _handles(found: Sequence[Group], looks: dict[str, dict[str, Any]]) -> list[Line2D]:
    drawn = {name for place in found for name, _ in _nulls(place)}
    return [
        *(Line2D([], [], lw=0.7, ms=4, label=label, **look) for label, look in looks.items()),
        *(Line2D([], [], label=name, **style) for name, style in _NULLS.items() if name in drawn),
        Line2D([], [], color="0.4", marker="o", ms=4, lw=0, label="the null is clearly beaten"),
        Line2D([], [], color="0.4", marker="o", mfc="white", ms=4, lw=0, label="it is not"),
        Line2D([], [], color=GREY, lw=0.8, label="effective degree 1: one-hot columns"),
    ]


def _data_rows(found: Group) -> list[Row]:
    """What is plotted: one row an SAE and one a null, at its place."""
    about = {"model": found.model, "layer": found.identity["layer"], "setting": found.identity["setting"]}
    rows: list[Row] = []
    for _, seeds in found.variants():
        for row, flat in zip(seeds, data_rows(seeds), strict=True):
            low, high = row.ce_above_null_interval or (None, None)
            above = {"ce_above_null": row.ce_above_null, "ce_above_null_low": low, "ce_above_null_high": high}
            rows.append(
                about | flat | above | {"effective_degree": _effective_degree(row)} | {"beats": beats([row], found)}
            )
    blank = dict.fromkeys(("ce_above_null", "ce_above_null_low", "ce_above_null_high", "effective_degree", "beats"))
    rows += [about | flat | blank for _, nulls in _nulls(found) for flat in data_rows(nulls)]
    return rows


def _table_rows(found: Group) -> list[Row]:
    """One row a recipe and k, one a null and k."""
    rows = []
    for label, line in lines(found).items():
        for seeds in line:
            collapse = seeds[0].collapse
            share = collapse.on_largest_coordinates if collapse else None
            own = {
                "CE above the null's": shown(seeds, "ce_above_null"),
                "null beaten": "yes" if beats(seeds, found) else "no",
            }
            own |= {"effective degree": f"{_value(seeds, 'effective_degree')[0]:.2f}"}
            own |= {"on largest coordinates": "" if share is None else f"{share:.0%}"}
            rows.append(_measures(found, label, seeds) | own)
    blank = dict.fromkeys(("CE above the null's", "null beaten", "effective degree", "on largest coordinates"), "")
    return [*rows, *(_measures(found, name, [row]) | blank for name, nulls in _nulls(found) for row in nulls)]


def _measures(found: Group, name: str, rows: Sequence[Any]) -> Row:
    first = rows[0]
    sizes = {"k": first.k, "decoder values": first.decoder_values}
    return {"model, layer": title(found), "code": name, **sizes, "FVU": shown(rows, "fvu"),
            "CE recovered (zero)": shown(rows, "recovered_zero")}  # fmt: skip
