"""Fidelity of SAEs against what their decoders cost to store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.plotting._axes import axes_or_new
from expander_theory.plotting._inputs import (
    Place,
    Row,
    as_row,
    is_json,
    is_place,
    listed,
    rows_of_json,
    stored_records,
)
from expander_theory.plotting.estimates import bar, estimate
from expander_theory.plotting.style import BLACK, BLUE
from expander_theory.results import EvaluationRecord, records_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ALLOWED = "evaluation records, the JSON file of `expander sae eval --out`, or a ledger that holds such records"
_NEEDS = ("name", "architecture", "d")
_LABELS = {
    "decoder_values": "learned decoder values",
    "parameters": "learned parameters",
    "bytes_packed": "bytes on disk, packed",
    "bytes_float32": "bytes in float32",
    "bytes_seeded": "bytes on disk, mask drawn again",
    "recovered_zero": "CE loss recovered",
    "recovered_mean": "CE loss recovered (mean ablation)",
    "delta": "delta CE (nats)",
    "kl": "KL (nats)",
    "fvu": "FVU",
    "relative_error": "relative error",
    "dead": "dead features",
}


def plot_frontier(
    results: Place | Sequence[Any],
    *,
    ax: Axes | None = None,
    x: str = "decoder_values",
    y: str = "recovered_zero",
    degrees: bool = True,
) -> Axes:
    """Draw a fidelity of SAEs against the size of their decoders: expanders joined, dense ones as squares.

    Args:
        results: evaluation records (dataclasses or mappings), the JSON file that ``expander sae eval --out`` writes, or
            a ledger that holds such records. Records of one ``variant`` are seeds of it: their mean is drawn, with the
            wider of the mean of their intervals and Student's interval over seeds, and each seed as a small point. A
            record that names no variant stands for itself.
        ax: where to draw; by default in a new figure, with a legend.
        x: the size: "decoder_values" (learned values of the decoder), or what else the records have, such as
            "bytes_packed".
        y: the fidelity: "recovered_zero" or "recovered_mean" (share of the cross-entropy recovered, against zero or
            mean ablation), "delta" (nats), "kl" (nats), "fvu" (fraction of variance unexplained), ... Its interval is
            ``{y}_interval``, where the records have it. Records where it is None (undefined) are left out.
        degrees: write d at each expander.

    Raises:
        InvalidArgument: results of another kind, or records without x or y.
        InvalidFile: no such file, or one without evaluations.
        MissingResource: matplotlib is not installed.
    """
    rows = evaluations(results, x, y)
    axes = axes_or_new(ax)
    variants: dict[str, list[Row]] = {}
    for row in rows:
        variants.setdefault(row.get("variant") or row["name"], []).append(row)
    ordered = sorted(variants.values(), key=lambda seeds: seeds[0][x])
    sparse = [seeds for seeds in ordered if seeds[0]["architecture"] != "dense"]
    if sparse:
        sizes = sorted({seeds[0][x] for seeds in sparse})
        means = [np.nanmean([estimate(s, y)[0] for s in sparse if s[0][x] == size]) for size in sizes]
        axes.plot(sizes, means, color=BLUE, lw=1, alpha=0.7)
        axes.plot([], [], color=BLUE, marker="o", lw=1, label="expander, $d$ at each point" if degrees else "expander")
    if len(sparse) < len(ordered):
        axes.plot([], [], color=BLACK, marker="s", lw=0, label="dense")
    for seeds in ordered:
        dense = seeds[0]["architecture"] == "dense"
        bar(axes, seeds[0][x], seeds, y, BLACK if dense else BLUE, "s" if dense else "o")
        if not dense and degrees:
            place = (seeds[0][x], estimate(seeds, y)[2])
            text = f"{seeds[0]['d']}"
            axes.annotate(text, place, xytext=(0, 3), textcoords="offset points", ha="center", size=6.5)
    axes.margins(0.08, 0.15)
    axes.set(xscale="log", xlabel=_LABELS.get(x, x.replace("_", " ")), ylabel=_LABELS.get(y, y.replace("_", " ")))
    if ax is None:
        axes.legend(frameon=False)
    return axes


def evaluations(results: Any, *needs: str) -> list[Row]:
    """Evaluation records of SAEs that have the fields named (none of them None), from all that a frontier takes.

    Raises:
        InvalidArgument: results of another kind, or records without such a field.
        InvalidFile: no such file, or one without evaluations.
    """
    if is_place(results):
        if is_json(results):
            found = rows_of_json(results, "evaluations", "expander sae eval --out")
        else:
            found = records_of(stored_records(results), EvaluationRecord)
        if not found:
            raise InvalidFile(results, "holds no evaluation of an SAE")
    else:
        found = listed("results", results, _ALLOWED)
    rows = [as_row("results", row, (*_NEEDS, *needs), _ALLOWED) for row in found]
    rows = [row for row in rows if all(row[name] is not None for name in needs)]
    if not rows:
        raise InvalidArgument("results", f"{len(found)} records", f"must have {' and '.join(needs)} somewhere")
    return rows
