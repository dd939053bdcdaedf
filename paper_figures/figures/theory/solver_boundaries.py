"""Every solver on every kind of dictionary: where it finds half of the codes, and what a signal costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from expander_theory.plotting import BLACK, BLUE, GREEN, ORANGE, RED, Drawing, Table, grid
from expander_theory.results import TimingRecord, read_ledger, records_of
from expander_theory.simulation import Cell, blocks_of, boundaries, cells
from expander_theory.statistics import compare_paired
from paper_figures.figures.theory.solver_comparison import holm

Row = dict[str, Any]
KIND = "solver boundaries"
FIRST = "omp"
NOTE = (
    "Boundary: the 50 % point in k/m of a logistic fit with its 95 % interval; empty where rates do not show it: all "
    "succeed, or all fail, within the k tried. Against OMP: mean rate over all k, theirs less that of OMP on the same "
    "instances, with an interval that covers 95 % always; p: McNemar's exact test, adjusted for all rows of this table "
    "(Holm). ms: processor time of one thread for a noiseless signal with m/8 nonzeros, float32, of the machine that "
    "ran it. Without noise a success is the exact support; at 30 dB a relative error of the code of at most 0.1."
)
_PANELS = (("gaussian", "none", "no noise"), ("gaussian", "relative", "30 dB"), ("uniform", "none", "codes in [1, 2)"))
_COLOURS = {"uniform": BLUE, "biregular": GREEN, "polynomial": ORANGE, "dense": BLACK}


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where there is nothing to draw."""
    identity, records = read_ledger(ledger)
    if identity.get("kind") != KIND:
        return None
    rows = solver_rows([cell for cell in cells(records) if cell.trials], records)
    if not rows:
        return None
    note = f"m = {identity['m']}, n = {identity['n']}, d = {identity['d']}. {NOTE}"
    return Drawing(
        {"solver_boundaries": _figure(rows, identity)},
        {},
        {"solver_boundaries": Table("Solvers on four kinds of dictionaries", rows, note)},
    )


def solver_rows(counted: Sequence[Cell], records: Sequence[Any]) -> list[Row]:
    """One row a solver, kind of dictionary, law of codes and noise."""
    fitted = {(r["family"], r["codes"], r["noise"], r["solver"]): r for r in boundaries(counted)}
    times = {record.part: record for record in records_of(records, TimingRecord)}
    ladders: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in counted:
        task = cell.task
        key = task.ensemble.label, task.codes.label, task.noise.label, task.solver_label
        ladders.setdefault(key, []).append(cell)
    rows = []
    for key, group in ladders.items():
        family, codes, noise, solver = key
        against = ladders.get((family, codes, noise, FIRST), [])
        fit, time = fitted.get(key, {}), times.get(f"time of {solver} on {family}")
        rows.append(
            {
                "codes": codes,
                "noise": "30 dB" if noise.startswith("relative") else noise,
                "dictionary": family,
                "solver": solver,
                "k/m at 50 %": fit.get("k/m at 50 %"),
                "low": fit.get("low"),
                "high": fit.get("high"),
                "fit": fit.get("status"),
                **_paired(group, against, records),
                "ms": None if time is None else 1000 * time.processor_seconds / time.trials,
            }
        )
    order = {name: place for place, name in enumerate(_COLOURS)}
    rows.sort(key=lambda r: (r["codes"], r["noise"] != "none", order.get(r["dictionary"], 9), -_known(r), r["solver"]))
    tested = [row for row in rows if row["p, Holm"] is not None]
    for row, adjusted in zip(tested, holm([row["p, Holm"] for row in tested]), strict=True):
        row["p, Holm"] = adjusted
    return rows


def _known(row: Row) -> float:
    """The boundary, for an order: 1 where all succeed, 0 where all fail."""
    if row["fit"] == "fitted":
        return row["k/m at 50 %"]
    return 1.0 if row["fit"] == "all_succeed" else 0.0


def _paired(group: Sequence[Cell], against: Sequence[Cell], records: Sequence[Any]) -> Row:
    """The rate over all k less that of OMP on the same instances."""
    names = ("against OMP", "difference low", "difference high", "p, Holm")
    if not against or group[0].task.solver == FIRST:
        return dict.fromkeys(names)
    blocks = blocks_of(records)
    first = {cell.task.instance_id: cell.task for cell in against}
    mine, theirs = [], []
    for cell in group:
        other = first.get(cell.task.instance_id)
        if other is not None:
            a, b = blocks[cell.task.id], blocks[other.id]
            for block in sorted(a.keys() & b.keys()):
                mine.append(a[block].outcome)
                theirs.append(b[block].outcome)
    found = compare_paired(mine, theirs)
    return dict(zip(names, (found.difference, found.low, found.high, found.p_value), strict=True))


def _figure(rows: Sequence[Row], identity: Mapping[str, Any]) -> Figure:
    """A panel for each law and noise: solvers downwards, boundaries to the right."""
    figure, axes = grid(1, len(_PANELS), width=2.5, height=4.4, sharex=True)
    for axis, (codes, noise, title) in zip(axes[0], _PANELS, strict=True):
        shown = [row for row in rows if row["codes"] == codes and (row["noise"] == "none") == (noise == "none")]
        best = {row["solver"]: 0.0 for row in shown}
        for row in shown:
            best[row["solver"]] = max(best[row["solver"]], _known(row))
        solvers = sorted(best, key=lambda solver: best[solver])
        for place, family in enumerate(_COLOURS):
            group = [row for row in shown if row["dictionary"] == family and row["fit"] == "fitted"]
            heights = [solvers.index(row["solver"]) + 0.15 * (place - 1.5) for row in group]
            centres = [row["k/m at 50 %"] for row in group]
            widths = [
                [row["k/m at 50 %"] - row["low"] for row in group],
                [row["high"] - row["k/m at 50 %"] for row in group],
            ]
            axis.errorbar(centres, heights, xerr=widths, fmt="o", ms=3, lw=1, color=_COLOURS[family], label=family)
        own = [
            row for row in shown if row["solver"] == FIRST and row["dictionary"] == "uniform" and row["fit"] == "fitted"
        ]
        if own:
            axis.axvline(own[0]["k/m at 50 %"], color=RED, lw=0.8, ls=":")
        axis.set(title=title, xlabel="$k/m$ at 50 %", xlim=(0, None))
        axis.set_yticks(range(len(solvers)), solvers, fontsize=7)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    size = ", ".join(f"${name} = {identity[name]}$" for name in ("m", "n", "d"))
    figure.suptitle(f"Where solvers find half of the codes, {size}; dotted: OMP on uniform masks", fontsize=9)
    return figure
