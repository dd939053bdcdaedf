"""Calibration of the exact recovery coefficient on real supports: predicted against observed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expander_theory.plotting import BLACK, BLUE, GREEN, ORANGE, TWO_COLUMNS, Drawing, Table, panels
from expander_theory.results import RecoveryRecord, read_ledger, records_of
from paper_figures.figures.inference.recovery_curves import KIND
from paper_figures.figures.saes.suite import model_name

NOTE = (
    "Supports of held-out tokens' codes and of their strongest features, on trained decoders, by their exact recovery"
    " coefficient (ERC). Below 1 OMP recovers every code on the support (Tropp 2004; OMP-1): the prediction is 1. At "
    "1 or more some code is not recovered, which codes of the data need not be. Coefficients: those of the code; "
    "their moduli with random signs; normal. 95 % Clopper-Pearson."
)
_LAWS = (
    ("own", "own coefficients", BLUE, "o"),
    ("signs", "random signs", ORANGE, "s"),
    ("gaussian", "normal", GREEN, "^"),
)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds nothing."""
    identity, found = read_ledger(ledger)
    records = records_of(found, RecoveryRecord) if identity.get("kind") == KIND else []
    rows = _rows(records)
    if not rows:
        return None
    chosen = [record for record in sorted(records, key=lambda r: -r.d) if record.calibration]
    sparse = [record for record in chosen if not record.dense]
    shown = ([record for record in chosen if record.dense][:1] + sparse[len(sparse) // 2 :][:1] + sparse[-1:])[:3]
    figure, axes = panels(len(shown), TWO_COLUMNS / max(2, len(shown)), 2.4, sharey=True)
    for axis, record in zip(axes, shown, strict=True):
        bins = record.calibration
        labels = [f"{b.erc_from:g}-{b.erc_to:g}" if b.erc_to else f"> {b.erc_from:g}" for b in bins]
        for shift, (law, label, colour, marker) in enumerate(_LAWS):
            x = [i + 0.16 * (shift - 1) for i in range(len(bins))]
            y = [getattr(b, law) for b in bins]
            ends = [getattr(b, f"{law}_interval") for b in bins]
            bars = [
                [v - low for v, (low, _) in zip(y, ends, strict=True)],
                [high - v for v, (_, high) in zip(y, ends, strict=True)],
            ]
            axis.errorbar(x, y, yerr=bars, fmt=marker, color=colour, ms=3.5, capsize=1.5, lw=0.9, label=label)
        certain = [i for i, b in enumerate(bins) if b.erc_to is not None and b.erc_to <= 1]
        for i in certain:
            axis.plot([i - 0.4, i + 0.4], [1, 1], color=BLACK, lw=1.4, label="predicted: all" if i == 0 else None)
        axis.set_xticks(range(len(bins)), labels, size=7)
        axis.set(title=record.label, xlabel="ERC", ylim=(-0.04, 1.06))
    axes[0].set_ylabel("share recovered by OMP")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{model_name(identity['model'])}: supports of real activations", fontsize=9)
    table = Table("Calibration of the exact recovery coefficient", rows, NOTE)
    return Drawing({"erc_calibration": figure}, {"erc_calibration": rows}, {"erc_calibration": table})


def _rows(records: list[RecoveryRecord]) -> list[dict[str, Any]]:
    rows = []
    for record in records:
        for b in record.calibration:
            row: dict[str, Any] = {
                "decoder": record.name,
                "ERC from": b.erc_from,
                "to": b.erc_to,
                "supports": b.supports,
            }
            row["predicted"] = b.predicted
            for law, label, _, _ in _LAWS:
                row[label] = getattr(b, law)
                row[f"{label}: low"], row[f"{label}: high"] = getattr(b, f"{law}_interval")
            rows.append(row)
    return rows
