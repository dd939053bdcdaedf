"""Recovery against k on trained decoders: planted codes, supports of real activations, and every certified k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expander_theory.plotting import BLACK, BLUE, GREEN, ORANGE, RED, Drawing, Table, panels, plot_recovery_curves
from expander_theory.results import RecoveryRecord, read_ledger, records_of
from paper_figures.figures.saes.suite import model_name

KIND = "recovery"
NOTE = (
    "Planted: k-sparse codes with uniform supports and normal coefficients, no noise; rate at which OMP returns "
    "exactly the support, up to the first k without success. Random values: signs on the same mask (dense: Gaussian)."
    " Real supports: those of held-out tokens' codes and of their strongest features, with the coefficients of the "
    "code itself; a support counts once. ERC < 1: the share of them on which OMP is proved to be exact (OMP-1). "
    "Bands: 95 % Clopper-Pearson. Certified: the k that coherence (OMP-2) and Babel sums (OMP-3) prove for every "
    "code."
)
_PLANTED = (("trained", "planted, trained decoder", BLUE), ("random values", "planted, random values", GREEN))
_REAL = (("own", "real supports, own coefficients", ORANGE), ("guaranteed", "real supports with ERC < 1 (proved)", RED))


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds nothing."""
    identity, found = read_ledger(ledger)
    records = records_of(found, RecoveryRecord) if identity.get("kind") == KIND else []
    if not records:
        return None
    records.sort(key=lambda record: -record.d)
    columns = min(4, len(records))
    figure, axes = panels(columns, width=2.0, height=2.4, sharey=True)
    chosen = [records[round(i * (len(records) - 1) / max(1, columns - 1))] for i in range(columns)]
    for axis, record in zip(axes, chosen, strict=True):
        _panel(axis, record)
    axes[0].set_ylabel("share of supports recovered")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"{model_name(identity['model'])}: exact support recovery by OMP", fontsize=9)
    table = Table("Certified and empirical sparsity of trained decoders", [_row(record) for record in records], NOTE)
    data = {"recovery_curves": [point for record in records for point in _points(record)]}
    return Drawing({"recovery_curves": figure}, data, {"recovery_curves": table})


def _points(record: RecoveryRecord) -> list[dict[str, Any]]:
    """Everything that can be plotted of one decoder."""
    points: list[dict[str, Any]] = []
    for values, rates in record.planted.items():
        for rate in rates:
            about = {"source": f"planted, {values}", "k": rate.k, "count": rate.trials}
            points.append(about | {"rate": rate.rate, "low": rate.low, "high": rate.high})
    for size in record.by_size:
        for name, label, _ in _REAL:
            low, high = getattr(size, f"{name}_interval")
            about = {"source": label, "k": size.size, "count": size.supports}
            points.append(about | {"rate": getattr(size, name), "low": low, "high": high})
    return [{"decoder": record.name, "d": record.d, **point} for point in points]


def _panel(axis: Any, record: RecoveryRecord) -> None:
    points = _points(record)
    lines = [(f"planted, {values}", label, colour) for values, label, colour in _PLANTED]
    lines += [(label, label, colour) for _, label, colour in _REAL]
    for source, label, colour in lines:
        line = sorted((p for p in points if p["source"] == source), key=lambda p: p["k"])
        if source.startswith("real"):
            line = [p for p in line if p["count"] >= 10]
        if line:
            plot_recovery_curves(line, ax=axis, label=label, color=colour, marker="o")
        else:
            axis.plot([], [], color=colour, marker="o", ms=2.5, lw=1.1, label=label)
    certified = record.measures.k_babel
    axis.axvline(max(certified, 0.7), color=BLACK, ls="--", lw=0.9, label="certified for every code (Babel)")
    axis.set(title=f"{record.label}: certified {certified}", xlabel="$k$", ylabel="")
    axis.title.set_size(9)


def _row(record: RecoveryRecord) -> dict[str, Any]:
    measured = record.measures

    def half(values: str) -> str:
        rates = record.planted[values]
        above = [rate.k for rate in rates if rate.rate >= 0.5]
        return "" if not above else f"{max(above)}" if max(above) < rates[-1].k else f">= {max(above)}"

    whole = record.by_size[-1]
    return {
        "decoder": record.name,
        "C largest": measured.flatness_largest,
        "mu": measured.coherence,
        "mu_1(4)": measured.babel[-1],
        "k certified (coherence)": measured.k_coherence,
        "k certified (Babel)": measured.k_babel,
        "largest k tried with rate >= 1/2, trained": half("trained"),
        "the same, random values": half("random values"),
        "largest real supports": f"{whole.size} ({whole.supports})",
        "ERC < 1 there": whole.guaranteed,
        "recovered there": whole.own,
        "ERC < 1 but not recovered": record.contradictions,
    }
