"""The gap between an encoder and slower inference on the same decoder, at the same k: what amortisation costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from expander_theory.plotting import METHODS, TWO_COLUMNS, Drawing, Table, panels
from expander_theory.results import AmortisationRecord, NullRecord, read_ledger, records_of
from paper_figures.figures.saes.suite import NOTHING, NULL_STYLE, model_name
from paper_figures.published import INFERENCE

KIND = "amortisation"
NULL = "coordinate null"
"""The method of the rows of the null."""
LABELS = {
    "encoder": "encoder (tied TopK)",
    "least_squares": "least squares on its support",
    "mp": "matching pursuit",
    "omp": "OMP",
    "omp_nonnegative": "OMP, codes >= 0",
    "gomp": "gOMP",
    "niht": "NIHT, 100 steps",
    "cosamp": "CoSaMP, 10 steps",
    NULL: NOTHING,
}
NOTE = (
    "Held-out tokens, at most k features each, the decoder as trained. FVU, CE recovered (zero ablation) with 95 % "
    "bootstrap over documents. overlap: |S and S_encoder| / k. With free signs (all but the encoder and OMP under "
    "codes >= 0) the class of codes is larger than the encoder's, so that the whole difference bounds what "
    "amortisation costs; OMP under codes >= 0 is in the encoder's class. The coordinate null "
    "has learned nothing: it keeps the k largest coordinates of h less its mean."
)
_SHOWN = ("encoder", "least_squares", "mp", "omp_nonnegative", "omp")
_MEASURES = (("fvu", "FVU"), ("recovered_zero", "CE loss recovered"))


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds nothing."""
    identity, found = read_ledger(ledger)
    records = records_of(found, AmortisationRecord) if identity.get("kind") == KIND else []
    if not records:
        return None
    nulls = {record.k: record for record in records_of(found, NullRecord)}
    decoders = [record for record in records if record.variant == record.variant.split("-k")[0]]
    decoders.sort(key=lambda record: -record.d)
    rows = [row for record in records for row in flat(record)] + [flat_null(null) for null in nulls.values()]
    table = Table(
        "Encoder against slower inference on the same decoder", [_shown(row) for row in rows], f"{NOTE} {INFERENCE}"
    )
    figures = {"amortisation": _figure(identity, decoders, nulls)} if decoders else {}
    data = [row for record in decoders for row in flat(record)]
    data += [flat_null(nulls[k]) for k in sorted({record.k for record in decoders} & nulls.keys())]
    return Drawing(figures, {"amortisation": data}, {"amortisation": table})


def flat(record: AmortisationRecord) -> list[dict[str, Any]]:
    """One row a method of one decoder."""
    rows = []
    for row in record.rows:
        out: dict[str, Any] = {key: getattr(record, key) for key in ("name", "label", "d", "k", "seed")}
        out["method"] = row.method
        for name in ("fvu", "relative_error", "overlap", "recovered_zero", "delta"):
            out[name] = getattr(row, name)
            out[f"{name}_low"], out[f"{name}_high"] = getattr(row, f"{name}_interval") or (None, None)
        rows.append(out | {"l0": row.l0, "nonnegative": row.nonnegative, "seconds": row.seconds})
    return rows


def flat_null(null: NullRecord) -> dict[str, Any]:
    """The coordinate null as such a row."""
    out: dict[str, Any] = {"name": null.name, "label": null.label, "d": 1, "k": null.k, "seed": None, "method": NULL}
    for name in ("fvu", "relative_error", "overlap", "recovered_zero", "delta"):
        out[name] = getattr(null, name, None)
        out[f"{name}_low"], out[f"{name}_high"] = getattr(null, f"{name}_interval", None) or (None, None)
    return out | {"l0": null.l0, "nonnegative": False, "seconds": None}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    def with_interval(name: str) -> str:
        value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
        return "" if value is None else f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"

    return {
        "SAE": row["name"],
        "k": row["k"],
        "codes": LABELS.get(row["method"], row["method"]),
        "FVU": with_interval("fvu"),
        "rel. error": with_interval("relative_error"),
        "CE recovered (zero)": with_interval("recovered_zero"),
        "overlap": with_interval("overlap"),
        "L0": row["l0"],
    }


def _figure(identity: dict[str, Any], decoders: list[AmortisationRecord], nulls: dict[int, NullRecord]) -> Figure:
    null = nulls.get(decoders[0].k)
    figure, axes = panels(2, TWO_COLUMNS / 2, 2.7)
    for axis, (name, label) in zip(axes, _MEASURES, strict=True):
        for place, record in enumerate(decoders):
            found = {row["method"]: row for row in flat(record)}
            for shift, method in enumerate(_SHOWN):
                row = found.get(method)
                if row is None or row[name] is None:
                    continue
                low, high = row[f"{name}_low"], row[f"{name}_high"]
                bars = None if low is None else [[row[name] - low], [high - row[name]]]
                x = place + 0.14 * (shift - (len(_SHOWN) - 1) / 2)
                axis.errorbar([x], [row[name]], yerr=bars, fmt="o", color=METHODS[method], ms=3.5, capsize=1.5, lw=0.9)
        if null is not None and getattr(null, name) is not None:
            axis.axhline(getattr(null, name), **NULL_STYLE)
        axis.set_xticks(range(len(decoders)), [r.label.replace("d = ", "") for r in decoders], size=8)
        axis.set(ylabel=label, xlabel="$d$")
    for method in _SHOWN:
        axes[0].plot([], [], "o", color=METHODS[method], ms=4, label=LABELS[method])
    if null is not None:
        axes[0].plot([], [], label=LABELS[NULL], **NULL_STYLE)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    size = f"$m = {identity['m']}$, $n = {identity['n']}$, $k = {decoders[0].k}$"
    figure.suptitle(f"{model_name(identity['model'])}: {size}", fontsize=9)
    return figure
