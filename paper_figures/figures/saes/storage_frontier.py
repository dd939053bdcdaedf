"""Storage and fidelity as d varies: CE recovered, delta CE and FVU against decoder values and against bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.lines import Line2D

from expander_theory.plotting import BLACK, BLUE, TWO_COLUMNS, Drawing, Table, estimate, grid, plot_frontier
from paper_figures.figures.saes.suite import (
    INTERVALS,
    NOTHING,
    NULL,
    Group,
    data_rows,
    group,
    null_line,
    null_rows,
    table_rows,
)
from paper_figures.published import PUBLISHED, SOURCE

_ROWS = (
    ("recovered_zero", "CE loss recovered"),
    ("delta", "delta CE (nats)"),
    ("fvu", "FVU"),
)
_COLUMNS = (("decoder_values", "learned decoder values"), ("bytes_packed", "bytes on disk, packed"))
BYTES = (
    "Packed bytes: bfloat16 values and biases, supports in ceil(log2 m) bits an index; seeded: a random mask is drawn "
    "again, without indices."
)


_FEWER = 60
"""Published points with at least so many times fewer values stand beside ours."""


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the experiment has no SAE yet."""
    found = group(ledger, "frontier")
    if found is None:
        return None
    figure, axes = grid(len(_ROWS), len(_COLUMNS), TWO_COLUMNS / 2, 2.1, sharex="col", sharey="row")
    for column, (x, label) in enumerate(_COLUMNS):
        for row, (y, name) in enumerate(_ROWS):
            axis = axes[row][column]
            plot_frontier(found.rows, ax=axis, x=x, y=y, degrees=y == "recovered_zero")
            null_line(axes[row][column], found, y)
            axis.set(xlabel="", ylabel=name if column == 0 else "")
        axes[-1][column].set(xscale="log", xlabel=label)
    handles = [
        Line2D([], [], color=BLUE, marker="o", lw=1, label="expander, $d$ at each point"),
        Line2D([], [], color=BLACK, marker="s", lw=0, label="dense"),
        Line2D([], [], color="0.4", marker=".", lw=0, label="seeds; bars: 95 %"),
    ]
    if found.null is not None:
        handles.append(Line2D([], [], color="0.35", ls="--", lw=1, label=NOTHING))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(found.place, fontsize=9)
    note = f"{found.note} {INTERVALS} {BYTES} Each architecture at its own learning rate, from a sweep. {NULL}"
    tables = {
        "storage_frontier": Table("Storage-fidelity frontier", [*table_rows(found), *null_rows(found)], note),
        "headline_ratio": _headline(found),
    }
    return Drawing({"storage_frontier": figure}, {"storage_frontier": data_rows(found.with_null)}, tables)


def _headline(found: Group) -> Table:
    """CE recovered over that of dense, by m/d; the paper's headline is 0.84 at m/d = 293."""
    rows = []
    for _, seeds in found.variants():
        first = seeds[0]
        if first.architecture == "dense":
            continue
        ratio, low, high = estimate(seeds, "ratio")
        rows.append(
            {
                "model": found.model,
                "d": first.d,
                "m/d": round(first.m / first.d, 1),
                "fewer values": f"{first.m * first.n / first.decoder_values:.0f}x",
                "ratio": ratio,
                "low": low,
                "high": high,
                "seeds": len(seeds),
                "source": "this run",
            }
        )
    rows += [
        {
            **dict.fromkeys(rows[0], ""),
            **{"model": f"{p.model}, layer {p.layer}", "d": p.d, "m/d": round(p.m / p.d, 1), "seeds": 3},
            **{"fewer values": f"{p.m / p.d:.0f}x", "ratio": p.ratio, "source": "published"},
        }
        for p in PUBLISHED
        if p.m / p.d > _FEWER
    ]
    note = (
        "Ratio: CE loss recovered (zero ablation) by the expander SAE over that by the dense one of the same seed, on "
        f"the same contexts; paired 95 % bootstrap over documents. {INTERVALS} Published: {SOURCE}; dense with a "
        "warm-started untied encoder. On Qwen2.5-3B itself: "
        "`expander experiment frontier --preset qwen2.5-3b-layer12 --model FOLDER`, as soon as its weights are there."
    )
    return Table("CE recovered relative to dense", rows, note)
