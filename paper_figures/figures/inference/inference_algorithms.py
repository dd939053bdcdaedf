"""Inference algorithms on frozen decoders over k: relative error, a panel for each architecture."""

from __future__ import annotations

from pathlib import Path

from expander_theory.plotting import METHODS, TWO_COLUMNS, Drawing, panels
from expander_theory.results import AmortisationRecord, NullRecord, read_ledger, records_of
from paper_figures.figures.inference.amortisation import KIND, LABELS, NULL, flat, flat_null
from paper_figures.figures.saes.suite import NULL_STYLE, model_name


def draw(ledger: Path) -> Drawing | None:
    """Draw from the ledger of `expander experiment amortisation`; None where it holds no decoders over k."""
    identity, records = read_ledger(ledger)
    if identity.get("kind") != KIND:
        return None
    groups: dict[str, list[AmortisationRecord]] = {}
    for record in records_of(records, AmortisationRecord):
        groups.setdefault(record.label, []).append(record)
    groups = {label: sorted(rows, key=lambda r: r.k) for label, rows in groups.items() if len(rows) > 1}
    if not groups:
        return None
    order = sorted(groups, key=lambda label: -groups[label][0].d)
    figure, axes = panels(len(order), TWO_COLUMNS / min(3, len(order)), 2.5, sharey=True)
    nothing = [flat_null(null) for null in sorted(records_of(records, NullRecord), key=lambda null: null.k)]
    data = list(nothing)
    for axis, label in zip(axes, order, strict=True):
        rows = [row for record in groups[label] for row in flat(record)]
        data += rows
        for method in (name for name in LABELS if name != NULL):
            line = [row for row in rows if row["method"] == method]
            k, mean = [row["k"] for row in line], [row["relative_error"] for row in line]
            axis.plot(k, mean, color=METHODS[method], marker="o", ms=3, lw=1.1, label=LABELS[method])
            ends = [(row["relative_error_low"], row["relative_error_high"]) for row in line]
            if line and all(low is not None for low, _ in ends):
                axis.fill_between(k, *zip(*ends, strict=True), color=METHODS[method], alpha=0.15, lw=0)
        at = [row for row in nothing if row["k"] in {row["k"] for row in rows}]
        if at:
            error = [row["relative_error"] for row in at]
            axis.plot([row["k"] for row in at], error, label=LABELS[NULL], **NULL_STYLE)
        axis.set(title=label, xlabel="$k$")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("relative error")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    size = f"$m = {identity['m']}$, $n = {identity['n']}$"
    figure.suptitle(f"{model_name(identity['model'])}: {size}; 95 % bands over documents", fontsize=9)
    return Drawing({"inference_algorithms": figure}, {"inference_algorithms": data})
