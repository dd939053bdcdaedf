"""Cumulative coherence of trained decoders over k, beside random values on the same masks."""

from __future__ import annotations

from pathlib import Path

from expander_theory.plotting import BLACK, TWO_COLUMNS, Drawing, Table, degree_colours, panels
from expander_theory.results import RecoveryRecord, read_ledger, records_of
from paper_figures.figures.inference.recovery_curves import KIND
from paper_figures.figures.saes.suite import Row, model_name

NOTE = (
    "mu_1(k): the largest sum of k moduli |<w_j, w_l>|, l != j, of unit columns. OMP recovers every k-sparse code if "
    "mu_1(k) + mu_1(k - 1) < 1 (Tropp 2004; OMP-3), so only below the line. Random values: signs on the same mask "
    "(dense: Gaussian)."
)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds none."""
    identity, found = read_ledger(ledger)
    records = records_of(found, RecoveryRecord) if identity.get("kind") == KIND else []
    if not records:
        return None
    rows = [_row(record, values, k, mu) for record in sorted(records, key=lambda r: r.d)
            for values, pairs in record.cumulative_coherence.items() for k, mu in pairs]  # fmt: skip
    colours = degree_colours([record.d for record in records if not record.dense])
    figure, axes = panels(2, TWO_COLUMNS / 2, 2.7, sharey=True)
    for axis, values in zip(axes, ("trained", "random values"), strict=True):
        for record in sorted(records, key=lambda r: r.d):
            line = [row for row in rows if row["decoder"] == record.name and row["values"] == values]
            colour = BLACK if record.dense else colours[record.d]
            axis.plot([row["k"] for row in line], [row["mu_1(k)"] for row in line], color=colour, marker="o", ms=2.5,
                      lw=1.1, label=record.label)  # fmt: skip
        axis.axhline(1, color=BLACK, lw=0.8, ls="--")
        axis.set(title=values, xlabel="$k$")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        for way in (axis.xaxis, axis.yaxis):
            way.set_major_formatter("{x:g}")
    axes[0].set_ylabel("cumulative coherence $\\mu_1(k)$")
    axes[0].annotate(
        "only below is anything proved", (64, 1), (0, -9), textcoords="offset points", ha="right", fontsize=7.5
    )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(f"{model_name(identity['model'])}: decoders", fontsize=9)
    table = Table("Cumulative coherence of trained decoders", rows, NOTE)
    return Drawing({"cumulative_coherence": figure}, {"cumulative_coherence": rows}, {"cumulative_coherence": table})


def _row(record: RecoveryRecord, values: str, k: int, mu: float) -> Row:
    return {"decoder": record.name, "d": record.d, "values": values, "k": k, "mu_1(k)": mu}
