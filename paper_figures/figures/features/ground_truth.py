"""What SAEs find of known features, by encoder and structure, against reconstruction and against what is proved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from expander_theory.plotting import BLACK, BLUE, GREEN, GREY, ORANGE, TWO_COLUMNS, Drawing, Table, panels
from expander_theory.results import AgreementRecord, PlantedRecord, TruthRecord, read_ledger, records_of

KIND = "ground truth"
ENCODERS = {"topk": "TopK", "batch_topk": "BatchTopK", "omp": "OMP", "omp_nonnegative": "OMP, codes >= 0"}
_COLOURS = {"topk": BLUE, "batch_topk": GREEN, "omp": ORANGE, "omp_nonnegative": BLACK}
_MARKS = {"dense": "o", "expander": "^", "block": "s"}
MEASURES = ("fvu", "mcc", "found", "precision", "recall", "f1", "f1_thresholded", "f1_by_column", "split")
NOTE = (
    "Activations with known features, held-out sample; means over seeds of the SAEs. MCC: mean |cosine| of columns and "
    "features, matched one to one (Hungarian). Found: |cosine| of .9 or more. Precision, recall and F1: of firing, "
    "feature by feature; 'thresholded': with each column's best threshold from another sample; 'by column': each "
    "column against its nearest feature, as SynthSAEBench has it. Split: two columns of |cosine| of .5 or more; "
    "absorbed: of pairs of parent and child. Again: pairwise MCC of two seeds. 'The known directions' have the true "
    "decoder and no training; random directions and coordinates have learned nothing."
)
LAWS = (
    "Certified k: OMP recovers every code this sparse (Tropp 2004). Guaranteed: share of true supports with ERC < 1; "
    "recovered: share of true supports that OMP on the true dictionary returns, told their size; both without noise "
    "and background. Brackets: 95 %."
)


def read(ledger: Path) -> tuple[dict[str, Any], list[PlantedRecord], list[TruthRecord], list[AgreementRecord]] | None:
    """Identity and records of the experiment, of whole laws; None where the ledger is of another kind or has none."""
    identity, records = read_ledger(ledger)
    laws = records_of(records, PlantedRecord)
    if identity.get("kind") != KIND or not laws:
        return None
    whole = {law.condition for law in laws}
    found = [record for record in records_of(records, TruthRecord) if record.condition in whole]
    again = [record for record in records_of(records, AgreementRecord) if record.condition in whole]
    return identity, laws, found, again


def by_sae(found: Iterable[TruthRecord]) -> dict[tuple[str, str], list[TruthRecord]]:
    """Records of all seeds of an SAE, by law and name."""
    groups: dict[tuple[str, str], list[TruthRecord]] = {}
    for record in found:
        groups.setdefault((record.condition, record.name), []).append(record)
    return groups


def mean(seeds: Sequence[TruthRecord], name: str) -> float:
    """Mean over seeds of a measure."""
    return fmean(getattr(record, name) for record in seeds)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds no whole law."""
    stored = read(ledger)
    if stored is None:
        return None
    identity, laws, found, again = stored
    groups = by_sae(found)
    alike: dict[tuple[str, str], list[float]] = {}
    for record in again:
        alike.setdefault((record.condition, record.name), []).append(record.mcc)
    agreement = {key: fmean(values) for key, values in alike.items()}
    labels = {law.condition: law.label for law in laws}
    rows = [
        _row(labels[condition], seeds, agreement.get((condition, name))) for (condition, name), seeds in groups.items()
    ]
    base = identity["base"]
    size = f"m = {base['m']}, n = {base['n']}, {base['l0']:g} features a token unless said, {identity['steps']} steps"
    return Drawing(
        {"ground_truth": _figure(laws, groups, size)},
        {"ground_truth": [_data(record) for record in found], "ground_truth_laws": [_law(law) for law in laws]},
        {
            "ground_truth": Table("Known features: what SAEs find", rows, f"{size}. {NOTE}"),
            "ground_truth_laws": Table("Known features: what is proved of them", [_law(law) for law in laws], LAWS),
        },
    )


def _figure(laws: Sequence[PlantedRecord], groups: dict[tuple[str, str], list[TruthRecord]], size: str) -> Figure:
    figure, axes = panels(3, TWO_COLUMNS / 3, 2.7)
    for seeds in groups.values():
        first = seeds[0]
        x, y = mean(seeds, "fvu"), mean(seeds, "f1")
        if first.role == "trained":
            axes[0].plot(x, y, _MARKS[first.decoder], color=_COLOURS[first.encoder], ms=4, alpha=0.75, mew=0)
        else:
            mark = "*" if first.role == "known" else "x"
            colour = _COLOURS[first.encoder] if first.role == "known" else GREY
            axes[0].plot(x, y, mark, color=colour, ms=6 if mark == "*" else 4, alpha=0.9)
    axes[0].set(xlabel="FVU", ylabel="F1 of firing")
    for axis, name, label in (
        (axes[1], "guaranteed", "true supports with ERC < 1"),
        (axes[2], "recovered", "true supports recovered by OMP"),
    ):
        for law in laws:
            for encoder in ENCODERS:
                seeds = groups.get((law.condition, f"dense-{encoder.replace('_', '-')}"))
                if seeds:
                    axis.plot(getattr(law, name), mean(seeds, "found"), "o", color=_COLOURS[encoder], ms=4, mew=0)
        axis.set(xlabel=label, ylabel="features found (dense SAEs)", ylim=(-0.03, 1.03))
    axes[1].text(0.04, 0.05, _certified(laws), transform=axes[1].transAxes, size=7, color=GREY)
    legend = [_handle(axes[0], "o", _COLOURS[e], label) for e, label in ENCODERS.items() if _has(groups, e)]
    kinds = [("o", "dense decoder"), ("^", "learned supports"), ("s", "dense columns beside them")]
    legend += [_handle(axes[0], mark, GREY, label) for mark, label in kinds]
    legend += [_handle(axes[0], "*", GREY, "known directions"), _handle(axes[0], "x", GREY, "nothing learned")]
    figure.legend(handles=legend, loc="outside lower center", ncols=5, frameon=False, fontsize=7)
    figure.suptitle(f"Known features: {size}", fontsize=9)
    return figure


def _certified(laws: Sequence[PlantedRecord]) -> str:
    ks = sorted({law.certified_k for law in laws})
    return f"certified for every code: k = {ks[0]}" + (f" to {ks[-1]}" if len(ks) > 1 else "")


def _handle(axis: Any, mark: str, colour: Any, label: str) -> Any:
    return axis.plot([], [], mark, color=colour, ms=4, label=label)[0]


def _has(groups: dict[tuple[str, str], list[TruthRecord]], encoder: str) -> bool:
    return any(seeds[0].role == "trained" and seeds[0].encoder == encoder for seeds in groups.values())


def _row(law: str, seeds: Sequence[TruthRecord], again: float | None) -> dict[str, Any]:
    first = seeds[0]
    absorbed = [record.absorbed for record in seeds if record.absorbed is not None]
    return {
        "features": law,
        "SAE": first.label,
        "encoder": ENCODERS[first.encoder],
        "n": first.n,
        "k": first.k,
        "values": first.decoder_values,
        **{name.replace("_", " "): mean(seeds, name) for name in MEASURES},
        "absorbed": fmean(absorbed) if absorbed else None,
        "again": again,
        "seeds": len(seeds),
    }


def _data(record: TruthRecord) -> dict[str, Any]:
    names = ("condition", "name", "role", "encoder", "decoder", "seed", "n", "k", "decoder_values", "l0", "true_l0")
    return {name: getattr(record, name) for name in (*names, *MEASURES, "absorbed")}


def _law(law: PlantedRecord) -> dict[str, Any]:
    def share(name: str) -> str:
        bounds = getattr(law, f"{name}_interval")
        return f"{getattr(law, name):.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else "")

    return {
        "features": law.label,
        "m": law.m,
        "n": law.n,
        "l0": law.l0,
        "coherence": law.coherence,
        "certified k": law.certified_k,
        "guaranteed": share("guaranteed"),
        "recovered": share("recovered"),
        "supports": law.supports,
    }
