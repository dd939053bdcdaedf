"""Records of the SAE suite as rows: who belongs to an experiment, seeds together, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from expander_theory.results import read_ledger

KIND = "sae suite"
Row = dict[str, Any]
INTERVALS = (
    "Points: one SAE each (seeds). Bars: 95 % bootstrap over held-out documents; of several seeds, the wider of the "
    "mean of those and Student's interval over seeds."
)


@dataclass(frozen=True)
class Group:
    """The SAEs of one experiment.

    Attributes:
        identity: of the ledger.
        rows: evaluation records in the experiment's order, with label, order, and ratio to dense where there is one.
        note: conventions of the cross-entropies.
        nulls: evaluation records of the coordinate null, by k.
    """

    identity: Row
    rows: list[Row]
    note: str
    nulls: Mapping[int, Row] = field(default_factory=dict)

    @property
    def null(self) -> Row | None:
        """The coordinate null at the setting's own k, if it was measured."""
        return self.nulls.get(self.identity["recipe"]["k"])

    @property
    def model(self) -> str:
        """Of the activations, for titles."""
        return model_name(self.identity["model"])

    @property
    def place(self) -> str:
        """Model, hook and size, for titles."""
        about = self.identity
        n, k = about["recipe"]["n"], about["recipe"]["k"]
        return f"{self.model}, {about['hook']} of layer {about['layer']}: $m = {about['m']}$, $n = {n}$, $k = {k}$"

    def variants(self) -> Iterator[tuple[str, list[Row]]]:
        """(name of the variant, its seeds), in order."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row["variant"], []).append(row)
        yield from found.items()


_NAMES = {"default": "SmolLM2-135M", "gemma": "Gemma-3-270M", "stories": "stories15M"}


def model_name(source: str) -> str:
    """A model's source as a name for people."""
    return _NAMES.get(source, Path(source).name)


def group(ledger: Path, name: str) -> Group | None:
    """The SAEs of an experiment; None where the ledger is of another kind or none is evaluated yet."""
    identity, records = read_ledger(ledger)
    if identity.get("kind") != KIND:
        return None
    evaluated = {r["name"]: r for r in records if "name" in r}
    pairs = {(r["pair"], r["to"]): r for r in records if "pair" in r}
    members = sorted((r for r in records if r.get("group") == name), key=lambda r: (r["order"], r["member"]))
    degrees = [r["d"] for r in evaluated.values() if r["variant"] == f"d{r['d']}"]
    rows = []
    for member in members:
        if member["member"] in evaluated:
            row = {**evaluated[member["member"]], "label": member["label"], "order": member["order"]}
            to = {"dense": "dense", "first": members[0]["variant"], "plain": f"d{row['d']}"}
            to["smallest"] = f"d{min(degrees, default=0)}"
            found = {key: pairs.get((row["name"], f"{other}-seed{row['seed']}"), {}) for key, other in to.items()}
            row |= {key: found["dense"].get(key) for key in _PAIR}
            for key in ("first", "plain", "smallest"):
                row |= {f"ce_above_{key}{end}": found[key].get(f"ce_difference{end}") for end in ("", "_interval")}
            null = pairs.get((row["name"], f"null-k{row['k']}"), {})
            row |= {f"ce_above_null{end}": null.get(f"ce_difference{end}") for end in ("", "_interval")}
            rows.append(row)
    note = next((r["note"] for r in records if "note" in r), "")
    nulls = {r["k"]: {**r, "name": r["null"], "variant": r["null"]} for r in records if "null" in r}
    return Group(identity, rows, note, dict(sorted(nulls.items()))) if rows else None


# Measures on the same contexts against another SAE of the same seed: the dense one (`ratio` of CE recovered and
# `ce_difference`), the first of the experiment (`ce_above_first`), the plain one of its degree (`ce_above_plain`),
# the plain one of the smallest degree (`ce_above_smallest`), and the coordinate null of its k (`ce_above_null`).
_PAIR = ("ratio", "ratio_interval", "ce_difference", "ce_difference_interval")


def estimate(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[float, float, float]:
    """Mean over seeds of a measure, and a 95 % interval: see :data:`INTERVALS`. NaN where it is undefined."""
    values = [row[name] for row in rows if row.get(name) is not None]
    if not values:
        return math.nan, math.nan, math.nan
    mean = float(np.mean(values))
    ends = [row[f"{name}_interval"] for row in rows if row.get(f"{name}_interval") is not None]
    low, high = (float(np.mean([pair[i] for pair in ends])) for i in (0, 1)) if ends else (mean, mean)
    if len(values) > 1:
        half = float(stdtrit(len(values) - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        low, high = min(low, mean - half), max(high, mean + half)
    return mean, low, high


def shown(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """An estimate for a table."""
    mean, low, high = estimate(rows, name)
    if math.isnan(mean):
        return ""
    return f"{mean:.3f}" if low == high else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


MEASURES = ("fvu", "relative_error", "recovered_zero", "recovered_mean", "delta", "kl", "ratio", "ce_difference")
_PLAIN = (
    *("name", "variant", "label", "seed", "architecture", "family", "m", "n", "d", "k", "decoder_values", "parameters"),
    *("bytes_float32", "bytes_packed", "bytes_seeded", "learning_rate", "steps", "l0", "dead", "dense", "omp_fvu"),
)


def data_rows(rows: Sequence[Row]) -> list[Row]:
    """What figures of SAEs plot, flat: one row an SAE."""
    flat = []
    for row in rows:
        out = {key: row.get(key) for key in _PLAIN}
        for name in MEASURES:
            out[name] = row.get(name)
            out[f"{name}_low"], out[f"{name}_high"] = row.get(f"{name}_interval") or (None, None)
        flat.append(out)
    return flat


def table_rows(found: Group) -> list[Row]:
    """One row a variant: sizes, fidelity with intervals, ratio to dense."""
    rows = []
    for _, seeds in found.variants():
        first = seeds[0]
        rows.append(
            {
                "SAE": first["label"],
                "n": first["n"],
                "d": first["d"],
                "k": first["k"],
                "decoder values": first["decoder_values"],
                "KB packed": first["bytes_packed"] / 1000,
                "seeds": len(seeds),
                "FVU": shown(seeds, "fvu"),
                "CE recovered (zero)": shown(seeds, "recovered_zero"),
                "delta CE": shown(seeds, "delta"),
                "of dense's recovery": shown(seeds, "ratio"),
                "CE above the null's": shown(seeds, "ce_above_null"),
                "dead": f"{np.mean([row['dead'] / row['n'] for row in seeds]):.1%}",
                "OMP: FVU": f"{np.mean([row['omp_fvu'] for row in seeds]):.3f}",
            }
        )
    return rows


NULL = (
    "Dashed: the coordinate null, a code that has learned nothing (h less its mean, of which the k largest coordinates "
    "are kept)."
)


def null_rows(found: Group, ks: Sequence[int] | None = None) -> list[Row]:
    """Rows of :func:`table_rows` for the coordinate null, by default at the setting's own k."""
    chosen = [found.identity["recipe"]["k"]] if ks is None else ks
    measures = {"FVU": "fvu", "CE recovered (zero)": "recovered_zero", "delta CE": "delta"}
    return [
        {
            "SAE": row["label"],
            **{"n": row["n"], "d": row["d"], "k": row["k"], "decoder values": 0, "KB packed": None, "seeds": None},
            **{title: shown([row], name) for title, name in measures.items()},
            **{"of dense's recovery": "", "CE above the null's": "", "dead": "", "OMP: FVU": ""},
        }
        for row in (found.nulls[k] for k in chosen if k in found.nulls)
    ]


def null_line(axis: Any, found: Group, name: str) -> None:
    """The coordinate null at the setting's own k, as a dashed line."""
    if found.null is not None and found.null.get(name) is not None:
        axis.axhline(found.null[name], color="0.35", ls="--", lw=1, zorder=0)


def bar(axis: Any, x: float, rows: Sequence[Row], name: str, colour: Any, marker: str = "o", **style: Any) -> None:
    """Mean with its interval at x, and the seeds as small points."""
    mean, low, high = estimate(rows, name)
    if math.isnan(mean):
        return
    axis.errorbar(
        [x], [mean], yerr=[[mean - low], [high - mean]], fmt=marker, color=colour, ms=4.5, capsize=2, lw=1, **style
    )
    if len(rows) > 1:
        values = [row[name] for row in rows if row.get(name) is not None]
        axis.plot([x] * len(values), values, ".", color=colour, ms=3, alpha=0.5, zorder=1)
