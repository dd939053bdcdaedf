"""Records of the SAE suite as rows: who belongs to an experiment, seeds together, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.plotting import estimate
from expander_theory.results import (
    BaselinesRecord,
    EvaluationRecord,
    Interval,
    Measurement,
    MembershipRecord,
    NullRecord,
    PairRecord,
    read_ledger,
    records_of,
)

KIND = "sae suite"
Row = dict[str, Any]
INTERVALS = (
    "Points: one SAE each (seeds). Bars: 95 % bootstrap over held-out documents; of several seeds, the wider of the "
    "mean of those and Student's interval over seeds. Learning rates: by FVU of short runs on the same held-out text, "
    "an SAE by OMP at that of its plain one."
)


@dataclass(frozen=True, kw_only=True)
class Member(EvaluationRecord):
    """An evaluated SAE in an experiment, with measures on the same contexts against others; None without such a pair.

    Attributes:
        label: in figures.
        ratio: of the cross-entropies recovered, own / that of the dense SAE of the same seed.
        ce_difference: own cross-entropy less that of the dense SAE of the same seed, nats a token.
        ce_above_first: the same against the first SAE of the experiment.
        ce_above_plain: against the plain one of its degree.
        ce_above_smallest: against the plain one of the smallest degree.
        ce_above_null: against the coordinate null of its k.
    """

    label: str
    ratio: float | None
    ratio_interval: Interval
    ce_difference: float | None
    ce_difference_interval: Interval
    ce_above_first: float | None
    ce_above_first_interval: Interval
    ce_above_plain: float | None
    ce_above_plain_interval: Interval
    ce_above_smallest: float | None
    ce_above_smallest_interval: Interval
    ce_above_null: float | None
    ce_above_null_interval: Interval

    @property
    def dead_share(self) -> float:
        """Share of features that are dead."""
        return self.dead / self.n

    @property
    def median_rate(self) -> float:
        """Median firing rate of features that fire; 0 if none does."""
        return self.firing.q50 or 0.0


@dataclass(frozen=True)
class Group:
    """The SAEs of one experiment.

    Attributes:
        identity: of the ledger.
        rows: its SAEs, in its order.
        note: conventions of the cross-entropies.
        nulls: the coordinate null, by k.
        others: the other codes that have learned nothing, or next to nothing, at any k.
        pairs: what was compared on the same contexts, by (name, name of the other).
    """

    identity: Row
    rows: list[Member]
    note: str
    nulls: Mapping[int, NullRecord] = field(default_factory=dict)
    others: Sequence[NullRecord] = ()
    pairs: Mapping[tuple[str, str], PairRecord] = field(default_factory=dict)

    @property
    def null(self) -> NullRecord | None:
        """The coordinate null at the setting's own k, if it was measured."""
        return self.nulls.get(self.identity["recipe"]["k"])

    @property
    def others_here(self) -> list[NullRecord]:
        """The other codes that have learned nothing, at the setting's own k."""
        return [null for null in self.others if null.k == self.identity["recipe"]["k"]]

    @property
    def with_null(self) -> list[Measurement]:
        """The SAEs, and the coordinate null at the setting's own k."""
        return [*self.rows, *([self.null] if self.null else [])]

    @property
    def model(self) -> str:
        """The name of the language model, for titles."""
        return model_name(self.identity["model"])

    @property
    def place(self) -> str:
        """Model, hook and size, for titles."""
        about = self.identity
        n, k = about["recipe"]["n"], about["recipe"]["k"]
        return f"{self.model}, {about['hook']} of layer {about['layer']}: $m = {about['m']}$, $n = {n}$, $k = {k}$"

    def variants(self) -> Iterator[tuple[str, list[Member]]]:
        """(name of the variant, its seeds), in order."""
        found: dict[str, list[Member]] = {}
        for row in self.rows:
            found.setdefault(row.variant, []).append(row)
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
    evaluated = {record.name: record for record in records_of(records, EvaluationRecord)}
    pairs = {(record.pair, record.to): record for record in records_of(records, PairRecord)}
    members = [record for record in records_of(records, MembershipRecord) if record.group == name]
    members.sort(key=lambda record: (record.order, record.member))
    smallest = min((record.d for record in evaluated.values() if record.variant == f"d{record.d}"), default=0)
    rows = [
        _member(evaluated[member.member], member.label, members[0].variant, smallest, pairs)
        for member in members
        if member.member in evaluated
    ]
    note = next((record.note for record in records_of(records, BaselinesRecord)), "")
    measured = records_of(records, NullRecord)
    nulls = {record.k: record for record in measured if record.code is None}
    others = [record for record in measured if record.code is not None]
    return Group(identity, rows, note, dict(sorted(nulls.items())), others, pairs) if rows else None


def _member(
    own: EvaluationRecord, label: str, first: str, smallest: int, pairs: Mapping[tuple[str, str], PairRecord]
) -> Member:
    def against(name: str) -> tuple[float | None, Interval]:
        pair = pairs.get((own.name, name))
        return (pair.ce_difference, pair.ce_difference_interval) if pair else (None, None)

    def seed_of(variant: str) -> str:
        return f"{variant}-seed{own.seed}"

    dense = pairs.get((own.name, seed_of("dense")))
    difference, difference_interval = against(seed_of("dense"))
    above_first, above_first_interval = against(seed_of(first))
    above_plain, above_plain_interval = against(seed_of(f"d{own.d}"))
    above_smallest, above_smallest_interval = against(seed_of(f"d{smallest}"))
    above_null, above_null_interval = against(f"null-k{own.k}")
    return Member(
        **vars(own),
        label=label,
        ratio=dense.ratio if dense else None,
        ratio_interval=dense.ratio_interval if dense else None,
        ce_difference=difference,
        ce_difference_interval=difference_interval,
        ce_above_first=above_first,
        ce_above_first_interval=above_first_interval,
        ce_above_plain=above_plain,
        ce_above_plain_interval=above_plain_interval,
        ce_above_smallest=above_smallest,
        ce_above_smallest_interval=above_smallest_interval,
        ce_above_null=above_null,
        ce_above_null_interval=above_null_interval,
    )


def measure(row: Measurement, name: str) -> Any:
    """A measure of an SAE or a null by its name; None where there is none, as of a null beside trained ones."""
    return getattr(row, name, None)


def shown(rows: Sequence[Measurement], name: str) -> str:
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


def data_rows(rows: Sequence[Measurement]) -> list[Row]:
    """What figures of SAEs plot, flat: one row an SAE."""
    flat = []
    for row in rows:
        out: Row = {key: measure(row, key) for key in _PLAIN}
        for name in MEASURES:
            out[name] = measure(row, name)
            out[f"{name}_low"], out[f"{name}_high"] = measure(row, f"{name}_interval") or (None, None)
        flat.append(out)
    return flat


def table_rows(found: Group) -> list[Row]:
    """One row a variant: sizes, fidelity with intervals, ratio to dense."""
    rows = []
    for _, seeds in found.variants():
        first = seeds[0]
        rows.append(
            {
                "SAE": first.label,
                "n": first.n,
                "d": first.d,
                "k": first.k,
                "decoder values": first.decoder_values,
                "KB packed": first.bytes_packed / 1000,
                "seeds": len(seeds),
                "FVU": shown(seeds, "fvu"),
                "CE recovered (zero)": shown(seeds, "recovered_zero"),
                "delta CE": shown(seeds, "delta"),
                "of dense's recovery": shown(seeds, "ratio"),
                "CE above the null's": shown(seeds, "ce_above_null"),
                "dead": f"{np.mean([row.dead / row.n for row in seeds]):.1%}",
                "OMP: FVU": f"{np.mean([row.omp_fvu for row in seeds]):.3f}",
            }
        )
    return rows


NULL = (
    "Dashed: the coordinate null, a code that has learned nothing (h less its mean, of which the k largest coordinates "
    "are kept)."
)
NOTHING = "nothing learned: coordinates"
"""The coordinate null in legends."""


def null_rows(found: Group, ks: Sequence[int] | None = None) -> list[Row]:
    """Rows of :func:`table_rows` for the coordinate null at some k; by default for all nulls at the setting's own."""
    chosen = [found.null] if ks is None else [found.nulls.get(k) for k in ks]
    chosen += found.others_here if ks is None else []
    measures = {"FVU": "fvu", "CE recovered (zero)": "recovered_zero", "delta CE": "delta"}
    return [
        {
            "SAE": row.label,
            **{"n": row.n, "d": row.d, "k": row.k, "decoder values": row.decoder_values},
            **{"KB packed": None, "seeds": None},
            **{title: shown([row], name) for title, name in measures.items()},
            **{"of dense's recovery": "", "CE above the null's": "", "dead": "", "OMP: FVU": ""},
        }
        for row in chosen
        if row is not None
    ]


NULL_STYLE: dict[str, Any] = {"color": "0.35", "ls": "--", "lw": 1, "zorder": 0}


def null_line(axis: Any, found: Group, name: str, *, upright: bool = False) -> None:
    """The coordinate null at the setting's own k, as a dashed line; upright where the measure is on the x axis."""
    if found.null is not None and measure(found.null, name) is not None:
        (axis.axvline if upright else axis.axhline)(measure(found.null, name), **NULL_STYLE)


def null_label(axis: Any, found: Group) -> None:
    """The legend's entry for :func:`null_line`."""
    if found.null is not None:
        axis.plot([], [], label=NOTHING, **NULL_STYLE)
