"""Storage and fidelity with the same inference for all: masks, learned supports, dense columns beside them, dense."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from expander_theory.plotting import BLACK, BLUE, GREEN, RED, TWO_COLUMNS, Drawing, Table, bar, estimate, grid
from expander_theory.results import NullRecord
from paper_figures.figures.saes.storage_frontier import BYTES
from paper_figures.figures.saes.suite import (
    INTERVALS,
    NOTHING,
    NULL,
    NULL_STYLE,
    Group,
    Member,
    Row,
    data_rows,
    group,
    measure,
    null_line,
    shown,
)

INFERENCE = {"tied": "TopK encoder", "omp": "OMP"}
"""Columns, by what encodes in training and in use."""
_KINDS = {
    "uniform": ("random mask", BLUE, "o"),
    "learned": ("learned supports", GREEN, "^"),
    "blocks": ("dense columns beside them", RED, "D"),
    "dense": ("dense", BLACK, "s"),
}
_ROWS = (("recovered_zero", "CE loss recovered"), ("fvu", "FVU"))


def kind(row: Member) -> str:
    """What the decoder is: a key of the figure's legend."""
    return "blocks" if row.dense_columns else row.family


def is_long(found: Group, row: Member) -> bool:
    """Whether it was trained for more steps than the setting's."""
    return row.steps > found.identity["recipe"]["steps"]


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the experiment has no SAE yet."""
    found = group(ledger, "equal-inference")
    if found is None:
        return None
    figure, axes = grid(len(_ROWS), len(INFERENCE), TWO_COLUMNS / 2, 2.3, sharex=True, sharey="row")
    for column, (encoder, title) in enumerate(INFERENCE.items()):
        for row, (name, label) in enumerate(_ROWS):
            axis = axes[row][column]
            _draw(axis, found, encoder, name)
            axis.set(xscale="log", ylabel=label if column == 0 else "")
        axes[0][column].set_title(title, size=9)
        axes[-1][column].set_xlabel("bytes on disk, packed")
    handles = [Line2D([], [], color=c, marker=m, lw=1, label=text) for text, c, m in _KINDS.values()]
    long = [row.steps for row in found.rows if is_long(found, row)]
    if long:
        times = f"{max(long) // found.identity['recipe']['steps']} times the steps"
        handles.append(Line2D([], [], color="0.3", marker="o", mfc="white", lw=0, label=times))
    handles.append(Line2D([], [], label=NOTHING, **NULL_STYLE))
    if untrained_null(found):
        handles.append(Line2D([], [], label="nothing learned: untrained mask", **_UNTRAINED))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(found.place, fontsize=9)
    note = (
        f"{found.note} {INTERVALS} {BYTES} Inference is the same in training and in use. Effective degree: of columns, "
        "weighted by the energy that they carry (1: coordinates). Multiply-adds of the correlations alone: decoder "
        f"values, times k for OMP. Time on the machine that measured it. {crossings(found)} {NULL}"
    )
    table = Table("Storage and fidelity at equal inference", [*table_rows(found), *null_rows(found)], note)
    data = [
        {**flat, "kind": kind(row), "encoder": row.encoder, "microseconds": row.encode_microseconds}
        for flat, row in zip(data_rows(found.rows), found.rows, strict=True)
    ]
    return Drawing({"equal_inference": figure}, {"equal_inference": data}, {"equal_inference": table})


_UNTRAINED: dict[str, Any] = {"color": "0.35", "ls": ":", "lw": 1, "zorder": 0}


def _draw(axis: Any, found: Group, encoder: str, name: str) -> None:
    for what, (_, colour, marker) in _KINDS.items():
        curve = [seeds for seeds in variants(found, encoder, what) if not is_long(found, seeds[0])]
        points = [(float(seeds[0].bytes_packed), estimate(seeds, name)[0]) for seeds in curve]
        axis.plot([x for x, _ in points], [y for _, y in points], color=colour, lw=1, alpha=0.6)
        for seeds in variants(found, encoder, what):
            long: dict[str, Any] = {"mfc": "white"} if is_long(found, seeds[0]) else {}
            bar(axis, seeds[0].bytes_packed, seeds, name, colour, marker, **long)
    null_line(axis, found, name)
    best = untrained_null(found)
    if encoder == "omp" and best is not None:
        axis.axhline(measure(best, name), **_UNTRAINED)


def variants(found: Group, encoder: str, what: str) -> list[list[Member]]:
    """The seeds of each variant of one kind and inference, by storage."""
    chosen = [s for _, s in found.variants() if s[0].encoder == encoder and kind(s[0]) == what]
    return sorted(chosen, key=lambda seeds: seeds[0].bytes_packed)


def untrained_null(found: Group) -> NullRecord | None:
    """The untrained mask, coded by OMP with the setting's own k, of most CE recovered."""
    untrained = [null for null in found.others_here if null.code == "untrained" and null.d < null.m]
    return max(untrained, key=lambda null: null.recovered_zero or -math.inf, default=None)


def is_below_untrained(found: Group, seeds: Sequence[Member]) -> bool:
    """Whether each seed's CE is clearly less than that of OMP on the best untrained mask, where that was measured."""
    best = untrained_null(found)
    if best is None:
        return True
    ends = [pair and pair.ce_difference_interval for row in seeds for pair in [found.pairs.get((row.name, best.name))]]
    return all(interval is not None and interval[1] < 0 for interval in ends)


def against_dense(found: Group, encoder: str) -> list[Row]:
    """Each sparse variant against the dense ones of the same inference: the curve at its storage, and the rival.

    The rival is the smallest dense SAE of no fewer packed bytes: ``gain`` is dense's cross-entropy less its own at the
    same storage, from the curve (from its smallest, where even that takes more); ``low`` and ``high`` bound how much
    lower its CE is than the rival's, see :func:`lower_by`.
    """
    dense = _dense(found, encoder)
    curve = [(math.log(s[0].bytes_packed), estimate(s, "delta")[0]) for s in dense]
    rows = []
    for what in ("uniform", "learned", "blocks"):
        for seeds in variants(found, encoder, what):
            first = seeds[0]
            rivals = [s for s in dense if s[0].bytes_packed >= first.bytes_packed]
            if not rivals or is_long(found, first):
                continue
            at, deltas = zip(*curve, strict=True)
            other = float(np.interp(math.log(first.bytes_packed), at, deltas))
            low, high, paired = lower_by(found, seeds, rivals[0])
            rows.append(
                {
                    "variant": first.variant,
                    "label": first.label,
                    "kind": what,
                    "seeds": len(seeds),
                    "storage": first.bytes_packed,
                    "gain": other - estimate(seeds, "delta")[0],
                    "rival": rivals[0][0].label,
                    "rival_storage": rivals[0][0].bytes_packed,
                    "low": low,
                    "high": high,
                    "paired": paired,
                }
            )
    return sorted(rows, key=lambda row: row["storage"])


def lower_by(found: Group, seeds: Sequence[Member], rivals: Sequence[Member]) -> tuple[float, float, int]:
    """By how much the CE of one variant is lower than another's, paired on the same contexts: the widest bounds over
    the seeds that both have, and how many these are; NaN where none was paired.
    """
    names = {row.seed: row.name for row in rivals}
    pairs = [found.pairs.get((row.name, names.get(row.seed, ""))) for row in seeds]
    ends = [pair.ce_difference_interval for pair in pairs if pair is not None and pair.ce_difference_interval]
    low, high = -max((high for _, high in ends), default=math.nan), -min((low for low, _ in ends), default=math.nan)
    return low, high, len(ends)


def below_each_dense(found: Group, encoder: str) -> list[Row]:
    """For each dense SAE of fewer features than the setting's the best sparse variant of no more packed bytes.

    The best is the one whose CE is lower by most, at the least (``low``); None where none was paired.
    """
    sparse = [s for what in ("uniform", "learned", "blocks") for s in variants(found, encoder, what)]
    rows = []
    for rivals in _dense(found, encoder):
        first = rivals[0]
        smaller = [s for s in sparse if s[0].bytes_packed <= first.bytes_packed and not is_long(found, s[0])]
        if first.n >= found.identity["recipe"]["n"] or not smaller:
            continue
        compared = [(*lower_by(found, seeds, rivals), seeds) for seeds in smaller]
        compared = [one for one in compared if one[2] == len({row.seed for row in rivals})]
        low, high, paired, best = max(compared, key=lambda one: one[0], default=(math.nan, math.nan, 0, None))
        rows.append({"rival": rivals, "best": best, "low": low, "high": high, "paired": paired})
    return rows


def _dense(found: Group, encoder: str) -> list[list[Member]]:
    return [seeds for seeds in variants(found, encoder, "dense") if not is_long(found, seeds[0])]


def crossings(found: Group) -> str:
    """From which storage on the dense curve is ahead, for each inference, in words."""
    said = []
    for encoder, title in INFERENCE.items():
        rows = against_dense(found, encoder)
        if not rows:
            continue
        best = {row["storage"]: row for row in sorted(rows, key=lambda row: row["gain"])}  # the best of each storage
        ahead = [size for size, row in best.items() if row["gain"] > 0]
        behind = [size for size, row in best.items() if row["gain"] <= 0]
        if not ahead:
            said.append(f"By {title} dense SAEs of equal storage are ahead throughout.")
        elif not behind:
            said.append(f"By {title} sparse ones are ahead of dense ones of equal storage up to {max(ahead):,} bytes.")
        else:
            above = min((size for size in behind if size > max(ahead)), default=None)
            where = f"and no longer at {above:,}" if above else f"but not at {', '.join(f'{b:,}' for b in behind)}"
            said.append(f"By {title} a sparse one is ahead of dense ones up to {max(ahead):,} bytes, {where}.")
    return " ".join(said)


def table_rows(found: Group) -> list[Row]:
    """One row a variant, for each inference in the order of storage."""
    rows = []
    for encoder, title in INFERENCE.items():
        rivals = {row["variant"]: row for row in against_dense(found, encoder)}
        of_inference = [s for _, s in found.variants() if s[0].encoder == encoder]
        for seeds in sorted(of_inference, key=lambda seeds: seeds[0].bytes_packed):
            first, rival = seeds[0], rivals.get(seeds[0].variant)
            rows.append(
                {
                    "SAE": first.label.removesuffix(", OMP"),
                    "inference": title,
                    "decoder values": first.decoder_values,
                    "KB packed": first.bytes_packed / 1000,
                    "seeds": len(seeds),
                    "FVU": shown(seeds, "fvu"),
                    "CE recovered (zero)": shown(seeds, "recovered_zero"),
                    "CE below the dense rival's": _paired(rival),
                    "effective degree": _mean([s.collapse.effective_degree for s in seeds if s.collapse], ".1f"),
                    "microseconds a token": _mean([s.encode_microseconds for s in seeds], ".0f"),
                    "multiply-adds a token": first.decoder_values * (first.k if encoder == "omp" else 1),
                }
            )
    return rows


def _paired(rival: Row | None) -> str:
    if rival is None or math.isnan(rival["low"]):
        return ""
    seeds = "" if rival["paired"] == rival["seeds"] else f", {rival['paired']} of {rival['seeds']} seeds"
    return f"[{rival['low']:.3f}, {rival['high']:.3f}] ({rival['rival'].removesuffix(', OMP')}{seeds})"


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):{form}}" if known else ""


def null_rows(found: Group) -> list[Row]:
    """Codes that have learned nothing, as rows of :func:`table_rows`."""
    chosen = [*([found.null] if found.null else []), *found.others_here]
    return [
        {
            **{"SAE": null.label, "inference": "nothing learned", "decoder values": null.decoder_values},
            **{"KB packed": None, "seeds": None, "FVU": shown([null], "fvu")},
            **{"CE recovered (zero)": shown([null], "recovered_zero"), "CE below the dense rival's": ""},
            **{"effective degree": "", "microseconds a token": "", "multiply-adds a token": None},
        }
        for null in chosen
    ]
