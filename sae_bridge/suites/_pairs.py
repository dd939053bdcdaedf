"""One code against another on the same held-out contexts: ratio of CE recovered, difference of CE."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from expander_theory.results import EvaluationRecord, Ledger, NullRecord, PairRecord
from sae_bridge.evaluation import Bootstrap, Losses


def append_pairs(ledger: Ledger, known: Losses, pairs: Iterable[tuple[str, str]]) -> None:
    """Compare what the ledger holds: SAEs and nulls by name, each pair once; what it does not hold is left out.

    Args:
        ledger: of evaluations, open; gets a record of each new pair.
        known: clean and ablated losses of the held-out contexts.
        pairs: (name, name of what it is compared with).
    """
    paired = {(record.pair, record.to) for record in ledger.of(PairRecord)}
    measured = {record.name: record for record in (*ledger.of(EvaluationRecord), *ledger.of(NullRecord))}
    bootstrap = Bootstrap(known.documents)
    for own, other in dict.fromkeys(pairs):
        if own != other and (own, other) not in paired and other in measured:
            ledger.append(_compared(known, bootstrap, measured[own], measured[other]))


def dense_rivals(records: Iterable[EvaluationRecord]) -> list[tuple[str, str]]:
    """Each sparse SAE with the dense ones of the same seed and encoder that take no fewer packed bytes (k, or all its
    features where it has fewer): what it has to beat at equal storage and equal inference.
    """
    records = list(records)
    return [
        (own.name, other.name)
        for own in records
        for other in records
        if other.architecture == "dense" != own.architecture
        and (other.seed, other.k, other.encoder) == (own.seed, min(own.k, other.n), own.encoder)
        and other.bytes_packed >= own.bytes_packed
    ]


def untrained_rivals(records: Iterable[EvaluationRecord], nulls: Iterable[NullRecord]) -> dict[str, str]:
    """For each SAE that is coded by OMP the untrained mask of the same k, coded by OMP, that recovers most of the CE:
    what it has to beat to have learned anything. Those without one are left out.
    """
    best: dict[int, NullRecord] = {}
    for null in nulls:
        if null.code == "untrained" and null.d < null.m:
            known = best.setdefault(null.k, null)
            best[null.k] = max(known, null, key=lambda record: record.recovered_zero or -math.inf)
    return {own.name: best[own.k].name for own in records if own.encoder == "omp" and own.k in best}


def _compared(
    known: Losses, bootstrap: Bootstrap, own: EvaluationRecord | NullRecord, other: EvaluationRecord | NullRecord
) -> PairRecord:
    ours, theirs = (np.array(record.ce_by_context) for record in (own, other))
    ratio = bootstrap.ratio(known.ce["zero"] - ours, known.ce["zero"] - theirs)
    difference = bootstrap.mean(ours - theirs, known.predictions)
    return PairRecord(own.name, other.name, *ratio, *difference)
