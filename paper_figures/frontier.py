"""Storage-fidelity frontier: CE-loss recovered and FVU against learned decoder values."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.commands.output import write_csv
from expander_theory.ledger import read_ledger
from paper_figures.output import write_table
from paper_figures.style import BLUE, GREEN, ORANGE, panels, save

LEDGERS = ("frontier/ledger.jsonl",)
NOTE = (
    "Nats per token on held-out documents. Ablation and reconstruction act on every position but the first of each "
    "context and tokens of outlying norm. Brackets: 95 % bootstrap over contexts. Learning rate 1e-3 sqrt(m/d) for all "
    "(dense is d = m), not tuned per d."
)


def draw(ledger: Path, out: Path) -> list[Path]:
    """Draw from the experiment's ledger; returns the files written."""
    _, records = read_ledger(ledger)
    rows = [record for record in records if "fvu" in record]
    if not rows:
        return []
    figure, (left, right) = panels(2)
    for name, label, colour, marker in (
        ("recovered_zero", "against zero ablation", BLUE, "o"),
        ("recovered_mean", "against mean ablation", ORANGE, "s"),
    ):
        _curve(left, rows, name, label, colour, marker)
    _curve(right, rows, "fvu", "FVU", GREEN, "o")
    left.set(ylabel="CE loss recovered")
    right.set(ylabel="fraction of variance unexplained")
    left.legend(frameon=False, loc="lower right")
    m, n, k = rows[0]["m"], rows[0]["n"], rows[0]["k"]
    for axis, name in ((left, "recovered_zero"), (right, "fvu")):
        axis.set_xscale("log")
        axis.margins(x=0.12, y=0.18)
        axis.set_xlabel("learned decoder values")
        for row in _by_degree(rows):
            value = np.mean([r[name] for r in row])
            label = "dense" if row[0]["architecture"] == "dense" else f"$d = {row[0]['d']}$"
            axis.annotate(
                label,
                (row[0]["decoder_values"], value),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    figure.suptitle(f"TopK SAEs on one residual stream: $m = {m}$, $n = {n}$, $k = {k}$", fontsize=10.5)
    flat = [{key: value for key, value in row.items() if not isinstance(value, list)} | _intervals(row) for row in rows]
    return [
        *save(figure, out / "frontier"),
        write_csv(out / "frontier.csv", flat),
        *write_table(out.parent / "tables" / "saes", "Expander SAEs and the dense reference", _table(rows), NOTE),
    ]


def _by_degree(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["decoder_values"]].append(row)
    return [groups[values] for values in sorted(groups)]


def _curve(axis: Any, rows: list[dict[str, Any]], name: str, label: str, colour: str, marker: str) -> None:
    """Seed mean per decoder size, joined; one point and bootstrap bar per seed."""
    groups = _by_degree(rows)
    x = [group[0]["decoder_values"] for group in groups]
    axis.plot(x, [np.mean([row[name] for row in group]) for group in groups], color=colour, lw=1, alpha=0.7)
    for row in rows:
        low, high = row.get(f"{name}_interval", (row[name], row[name]))
        bars = [[max(0.0, row[name] - low)], [max(0.0, high - row[name])]]
        fill = "white" if row["architecture"] == "dense" else colour
        axis.errorbar(
            row["decoder_values"], row[name], yerr=bars, fmt=marker, color=colour, mfc=fill, ms=5, capsize=2, lw=1,
            label=label if row is rows[0] else None,
        )  # fmt: skip


def _intervals(row: dict[str, Any]) -> dict[str, float]:
    return {
        f"{name}_{end}": row[f"{name}_interval"][place]
        for name in ("recovered_zero", "recovered_mean")
        for place, end in enumerate(("low", "high"))
    }


def _table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def with_interval(row: dict[str, Any], name: str) -> str:
        low, high = row[f"{name}_interval"]
        return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"

    return [
        {
            "SAE": row["name"],
            "d": row["d"],
            "decoder values": row["decoder_values"],
            "m/d": row["m"] / row["d"],
            "FVU": row["fvu"],
            "L0": row["l0"],
            "dead features": row["dead"],
            "CE clean": row["ce_clean"],
            "CE zero-abl.": row["ce_zero"],
            "CE mean-abl.": row["ce_mean"],
            "CE with SAE": row["ce"],
            "delta CE": row["delta"],
            "recovered (zero)": with_interval(row, "recovered_zero"),
            "recovered (mean)": with_interval(row, "recovered_mean"),
        }
        for row in sorted(rows, key=lambda row: (-row["decoder_values"], row["name"]))
    ]
