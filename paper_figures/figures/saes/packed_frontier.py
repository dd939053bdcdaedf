"""Fidelity over the bytes of packed files: the frontier over storage where real files are weighed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from expander_theory.plotting import BLACK, BLUE, ORANGE, TWO_COLUMNS, Drawing, Table, bar, estimate, grid
from expander_theory.results import NullRecord, PackedRecord, read_ledger, records_of
from paper_figures.figures.saes.suite import INTERVALS, NOTHING, NULL, NULL_STYLE, measure, model_name, shown

_ROWS = (("recovered_zero", "CE loss recovered"), ("delta", "delta CE (nats)"), ("fvu", "FVU"))
_COLUMNS = (("tied", "TopK in training and use"), ("omp", "OMP in training and use"))
_VALUES = {"bfloat16": ("-", None), "int4": ("--", "0.8"), "int2": (":", "white")}
_KINDS = {
    "dense": ("dense", BLACK, "s"),
    "drawn": ("expander, mask from its seed", BLUE, "o"),
    "listed": ("learned supports, stored", ORANGE, "^"),
}
_UNTRAINED: dict[str, Any] = {"color": "0.35", "ls": ":", "lw": 1, "zorder": 0}


def draw(ledger: Path) -> Drawing | None:
    """Draw from a ledger of packed SAEs; None where it is of another kind or empty."""
    identity, records = read_ledger(ledger)
    found, nulls = records_of(records, PackedRecord), records_of(records, NullRecord)
    if identity.get("kind") != "packed" or not found:
        return None
    columns = [one for one in _COLUMNS if any(record.encoder == one[0] for record in found)]  # of a run so far
    figure, axes = grid(len(_ROWS), len(columns), TWO_COLUMNS / 2, 2.1, sharex="all", sharey="row")
    for column, (encoder, title) in enumerate(columns):
        for row, (name, label) in enumerate(_ROWS):
            _draw(axes[row][column], [one for one in found if one.encoder == encoder], name)
            _null_lines(axes[row][column], nulls, name, untrained=encoder == "omp")
            axes[row][column].set(xscale="log", ylabel=label if column == 0 else "")
        axes[0][column].set_title(title, size=9)
        axes[-1][column].set_xlabel("bytes of the packed file")
    handles = [
        Line2D([], [], color=colour, marker=marker, lw=0, label=text) for text, colour, marker in _KINDS.values()
    ]
    handles += [
        Line2D([], [], color="0.3", marker="o", mfc=fill or "0.3", ls=line, lw=1, label=values)
        for values, (line, fill) in _VALUES.items()
    ]
    handles.append(Line2D([], [], label=NOTHING, **NULL_STYLE))
    handles.append(Line2D([], [], label="nothing learned: untrained mask", **_UNTRAINED))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    place = f"{model_name(identity['model'])}, {identity['hook']} of layer {identity['layer']}"
    sizes = f"$m = {identity['m']}$, $n = {identity['n']}$, $k = {identity['k']}$"
    figure.suptitle(f"{place}: {sizes}", fontsize=9)
    note = (
        f"{identity['steps']} steps of {identity['batch']} tokens. Bytes: of files of `expander sae pack`, header "
        f"included; dense SAEs are packed in the same way. Each is measured as it is read back. {INTERVALS} Change by "
        f"packing: of the cross-entropy, nats a token, paired. {NULL}"
    )
    rows = [_table_row(seeds) for seeds in _variants(found)]
    rows += [
        {"SAE": null.label, "FVU": shown([null], "fvu"), "CE recovered": shown([null], "recovered_zero")}
        for null in nulls
    ]
    table = Table(
        "Fidelity over the bytes of packed files", [{**dict.fromkeys(rows[0], ""), **row} for row in rows], note
    )
    return Drawing(
        {"packed_frontier": figure}, {"packed_frontier": [_flat(one) for one in found]}, {"packed_frontier": table}
    )


def _kind(one: PackedRecord) -> str:
    return "dense" if one.architecture == "dense" else "listed" if one.listed else "drawn"


def _variants(found: Sequence[PackedRecord]) -> list[list[PackedRecord]]:
    """Seeds of one variant and format together, by the size of their files."""
    groups: dict[tuple[str, str], list[PackedRecord]] = {}
    for one in found:
        groups.setdefault((one.variant, one.values), []).append(one)
    return sorted(groups.values(), key=lambda seeds: seeds[0].file_bytes)


def _draw(axis: Axes, found: Sequence[PackedRecord], name: str) -> None:
    for kind, (_, colour, marker) in _KINDS.items():
        for values, (line, fill) in _VALUES.items():
            curve = _variants([one for one in found if _kind(one) == kind and one.values == values])
            points = [(_bytes(seeds), estimate(seeds, name)[0]) for seeds in curve]
            axis.plot([x for x, _ in points], [y for _, y in points], color=colour, ls=line, lw=1, alpha=0.6)
            for seeds in curve:
                bar(axis, _bytes(seeds), seeds, name, colour, marker, **({} if fill is None else {"mfc": fill}))


def _bytes(seeds: Sequence[PackedRecord]) -> float:
    """Files of several seeds differ in a few bytes of their headers."""
    return sum(one.file_bytes for one in seeds) / len(seeds)


def _null_lines(axis: Axes, nulls: Sequence[NullRecord], name: str, *, untrained: bool) -> None:
    coordinates = next((null for null in nulls if null.code is None), None)
    if coordinates is not None and measure(coordinates, name) is not None:
        axis.axhline(measure(coordinates, name), **NULL_STYLE)
    masks = [null for null in nulls if null.code == "untrained" and null.d < null.m]
    best = max(masks, key=lambda null: null.recovered_zero or -math.inf, default=None)
    if untrained and best is not None and measure(best, name) is not None:
        axis.axhline(measure(best, name), **_UNTRAINED)


def _table_row(seeds: Sequence[PackedRecord]) -> dict[str, Any]:
    first = seeds[0]
    return {
        "SAE": first.label,
        "encoder": first.encoder,
        "n": first.n,
        "values": first.values,
        "supports": "stored" if first.listed else "none",
        "file bytes": f"{_bytes(seeds):,.0f}",
        "seeds": len(seeds),
        "FVU": shown(seeds, "fvu"),
        "CE recovered": shown(seeds, "recovered_zero"),
        "change by packing": shown(seeds, "ce_above_stored"),
    }


def _flat(one: PackedRecord) -> dict[str, Any]:
    plain = ("name", "variant", "label", "seed", "architecture", "encoder", "m", "n", "d", "k", "decoder_values")
    out = {key: getattr(one, key) for key in (*plain, "values", "listed", "file_bytes", "l0")}
    for name in ("recovered_zero", "delta", "fvu", "ce_above_stored"):
        out[name] = getattr(one, name)
        out[f"{name}_low"], out[f"{name}_high"] = getattr(one, f"{name}_interval") or (None, None)
    return out
