"""Does a short finetune on the language model's output pay?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expander_theory.results import FinetuneRecord, Interval, records_of
from paper_figures.claims.base import OURS, Claim, Finding, Verdict, interval, ledger
from paper_figures.figures.saes.suite import model_name, shown


def _pays(results: Path) -> Finding | None:
    found = ledger(results, "finetune")
    if found is None:
        return None
    identity, records = found
    rows = records_of(records, FinetuneRecord)
    before = [row for row in rows if not row.start]
    after = [row for row in rows if row.weight]
    if not before or not after:
        return None
    best = min(after, key=lambda row: row.ce)
    below_start, below_control = (
        _is_below(bounds) for bounds in (best.ce_above_start_interval, best.ce_above_control_interval)
    )
    verdict: Verdict = "supported" if below_start and below_control else "partly" if below_start else "not supported"
    numbers = [_in_words(row) for row in rows]
    closed = 1 - best.delta / before[0].delta
    numbers.append(f"the best ({best.label}) closes {closed:.1%} of the gap in CE to the model without an SAE")
    tokens = best.steps * best.step_contexts * identity["context"]
    trained = identity["training_steps"] * identity["training_batch"]
    scale = (
        f"{model_name(identity['model'])}, layer {identity['layer']}, m = {identity['m']}, n = {identity['n']}, "
        f"d = {best.d}, k = {best.k}, OMP as encoder; {trained:,} tokens of training, then finetunes of {best.steps} "
        f"steps ({tokens:,} tokens), one seed; held out: {best.tokens:,} tokens of {best.documents} documents"
    )
    return Finding(verdict, tuple(numbers), scale)


def _is_below(bounds: Interval) -> bool:
    return bounds is not None and bounds[1] < 0


def _in_words(row: FinetuneRecord) -> str:
    said = f"{row.label}: CE recovered {shown([row], 'recovered_zero')}, FVU {shown([row], 'fvu')}"
    for name, other in (("ce_above_start", "the start"), ("ce_above_control", "the control")):
        value, bounds = getattr(row, name), getattr(row, f"{name}_interval")
        if value is not None:
            said += f", CE above {other} by {interval(value, *bounds) if bounds else f'{value:.3g}'}"
    return said if row.cosine is None else f"{said}, mean cosine of features to before {row.cosine:.3f}"


FINETUNED: Sequence[Claim] = (
    Claim(
        "end-to-end finetune", "A short end-to-end finetune closes part of the CE gap at fixed storage.", OURS,
        "expander experiment finetune",
        "of the finetunes with KL the one of least CE has clearly less CE than the SAE that it started from and than "
        "the control, which saw the same tokens at the same rate without KL (paired bootstrap); partly: than the "
        "start alone",
        (), _pays,
    ),
)  # fmt: skip
