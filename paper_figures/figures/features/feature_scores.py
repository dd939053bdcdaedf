"""What can be said of features without a judge, by SAE, beside codes that have learned nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from expander_theory.plotting import BLACK, BLUE, GREY, ORANGE, PURPLE, TWO_COLUMNS, Drawing, Table, panels
from expander_theory.results import (
    AgreementRecord,
    FeaturesRecord,
    JudgedRecord,
    ProbePoint,
    RawProbesRecord,
    read_ledger,
    read_records,
    records_of,
)
from paper_figures.figures.saes.suite import model_name

KIND = "features"
PAPER = (
    "The paper's own judge scored 25 features of each SAE of its files for coherence, 1 to 5: d = 7 2.83 [2.43, 3.27], "
    "d = 200 3.72 [3.34, 4.06], dense 3.59 [3.21, 3.96]."
)
NOTE = (
    "Units: features that fire often enough in held-out text; one whose codes have signs counts as two. Token and "
    "window AUC: how well the current token, or it and the four before, predict on held-out text that a unit fires; "
    "median over units, mean over seeds. A token: token AUC of .95 or more. Identified: the tokens it fires on in half "
    "of the documents are more like those in the other half than like any other unit's among at most 2,048: more units "
    "are harder to tell apart. Probes: balanced accuracy of a "
    "logistic regression on the k best features, codes averaged over 128 tokens of BBC news, mean over five labels; "
    "brackets: 95 % bootstrap over test texts, of the first seed. Again: pairwise MCC of two seeds."
)


def read(ledger: Path) -> tuple[dict[str, Any], dict[str, list[FeaturesRecord]], list[RawProbesRecord]] | None:
    """Identity, scores by variant, and probes without an SAE; None where the ledger is of another kind or empty."""
    identity, records = read_ledger(ledger)
    found: dict[str, list[FeaturesRecord]] = {}
    for record in records_of(records, FeaturesRecord):
        found.setdefault(record.variant, []).append(record)
    if identity.get("kind") != KIND or not found:
        return None
    return identity, found, records_of(records, RawProbesRecord)


def value(record: FeaturesRecord, name: str) -> float | None:
    """A number of a record: the median of what has quartiles, a probe's accuracy for ``probe5``."""
    if name.startswith("probe"):
        return next((probe.accuracy for probe in record.probes if probe.k == int(name.removeprefix("probe"))), None)
    found = getattr(record, name)
    return found[1] if isinstance(found, tuple) else found


def mean(seeds: Sequence[FeaturesRecord], name: str) -> float | None:
    """Mean over seeds, None where one has no such number."""
    values = [value(record, name) for record in seeds]
    return None if any(v is None for v in values) else fmean(v for v in values if v is not None)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds nothing."""
    stored = read(ledger)
    if stored is None:
        return None
    identity, found, raw = stored
    again: dict[str, list[float]] = {}
    for record in read_records(ledger, AgreementRecord):
        again.setdefault(record.name, []).append(record.mcc)
    judged = _judged(ledger.parent / "judged" / "ledger.jsonl")
    rows = [_row(seeds, again.get(variant), judged.get(seeds[0].name)) for variant, seeds in found.items()]
    rows += [_raw_row(record, rows[0]) for record in raw]
    place = f"{model_name(identity['model'])}, layer {identity['layer']}: m = {identity['m']}, k = {_k(found)}"
    data = [_data(record) for seeds in found.values() for record in seeds]
    note = f"{place}. {NOTE} {PAPER}"
    return Drawing(
        {"feature_scores": _figure(found, raw, place)},
        {"feature_scores": data},
        {"feature_scores": Table("Features without a judge, and with one where there was one", rows, note)},
    )


def _k(found: dict[str, list[FeaturesRecord]]) -> int:
    return next(iter(found.values()))[0].k


def _figure(found: dict[str, list[FeaturesRecord]], raw: Sequence[RawProbesRecord], place: str) -> Figure:
    figure, axes = panels(3, TWO_COLUMNS / 3, 1.1 + 0.24 * len(found), sharey=True)
    for at, seeds in enumerate(found.values()):
        colour = _colour(seeds[0])
        for record in seeds:
            for axis, name, mark in ((axes[0], "token_auc", "o"), (axes[0], "window_auc", "|")):
                quartiles = getattr(record, name)
                if quartiles:
                    axis.plot(quartiles[1], at, mark, color=colour, ms=5 if mark == "o" else 10, alpha=0.8)
            if record.token_auc:
                axes[0].plot(record.token_auc[::2], [at, at], "-", color=colour, lw=1, alpha=0.35)
            if record.identified is not None:
                axes[1].plot(record.identified, at, "o", color=colour, ms=5, alpha=0.8)
            for probe, mark in zip(record.probes, "^os", strict=False):
                axes[2].plot(probe.accuracy, at, mark, color=colour, ms=4, alpha=0.8)
    for record in raw:
        if record.label == "coordinates":
            for probe in record.probes:
                axes[2].axvline(probe.accuracy, color=GREY, lw=0.7, ls="--")
    axes[0].set_xlabel("AUC of firing")
    axes[1].set_xlabel("units identified")
    axes[2].set_xlabel("accuracy of probes")
    marks = [("o", "from the token"), ("|", "from five tokens"), ("^", "1 feature"), ("s", "20 features")]
    legend = [axes[0].plot([], [], mark, color=GREY, ms=5, label=label)[0] for mark, label in marks]
    legend.insert(3, axes[2].plot([], [], "o", color=GREY, ms=4, label="5 features")[0])
    legend.append(axes[2].plot([], [], "--", color=GREY, lw=0.7, label="1, 5, 20 coordinates")[0])
    figure.legend(handles=legend, loc="outside lower center", ncols=6, frameon=False, fontsize=7)
    axes[0].set_yticks(range(len(found)), [seeds[0].label for seeds in found.values()], size=7)
    axes[0].invert_yaxis()
    for axis in axes:
        axis.grid(axis="y", lw=0.3, alpha=0.6)
    figure.suptitle(place, fontsize=9)
    return figure


def _colour(record: FeaturesRecord) -> Any:
    if record.role == "null":
        return GREY
    if record.encoder.startswith("omp"):
        return PURPLE if record.architecture == "dense" else ORANGE
    return BLACK if record.architecture == "dense" else BLUE


def _row(
    seeds: Sequence[FeaturesRecord], again: list[float] | None, judged: list[JudgedRecord] | None
) -> dict[str, Any]:
    first = seeds[0]
    shown = {name: mean(seeds, name) for name in ("token_auc", "window_auc", "tokens", "identified", "entropy")}
    tests: dict[str, float | None] = {}
    for test in ("detection", "fuzzing"):
        scores = [score for record in judged or () if (score := getattr(record, test)) is not None]
        tests[test] = fmean(scores) if scores else None
    return {
        "SAE": first.label,
        "encoder": first.encoder,
        "KB packed": first.bytes_packed / 1000,
        "units": round(fmean(record.units for record in seeds)),
        **{name.replace("_", " ").replace("auc", "AUC"): number for name, number in shown.items()},
        **{f"probe {k}": _probe(first.probes, k) for k in (1, 5, 20)},
        "probe all": None,
        "again": fmean(again) if again else None,
        **tests,
        "seeds": len(seeds),
    }


def _probe(points: Sequence[ProbePoint], k: int) -> str | None:
    found = next((point for point in points if point.k == k), None)
    return found and f"{found.accuracy:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _raw_row(record: RawProbesRecord, like: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(like)
    every = record.probes[0] if record.label.startswith("all") and record.probes else None
    shown = {f"probe {k}": _probe(record.probes, k) for k in (1, 5, 20)} if every is None else {}
    return {**row, "SAE": record.label, **shown, "probe all": every and _probe([every], every.k)}


def _data(record: FeaturesRecord) -> dict[str, Any]:
    names = (
        "name",
        "variant",
        "role",
        "seed",
        "encoder",
        "architecture",
        "n",
        "d",
        "k",
        "decoder_values",
        "bytes_packed",
    )
    found: dict[str, Any] = {name: getattr(record, name) for name in names}
    found |= {
        name: value(record, name) for name in ("units", "token_auc", "window_auc", "tokens", "entropy", "identified")
    }
    return found | {f"probe_{k}": value(record, f"probe{k}") for k in (1, 5, 20)}


def _judged(path: Path) -> dict[str, list[JudgedRecord]]:
    found: dict[str, list[JudgedRecord]] = {}
    for record in read_records(path, JudgedRecord) if path.is_file() else ():
        found.setdefault(record.sae, []).append(record)
    return found
