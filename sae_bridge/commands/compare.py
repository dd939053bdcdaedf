"""``expander sae compare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expander_theory.results import EvaluationRecord, NullRecord
    from sae_bridge.suites import Setting


@dataclass(frozen=True)
class Compare:
    """Train and compare dense and expander SAEs on one layer of a language model.

    Harvests, sweeps rates (each architecture has its own), trains all SAEs on one stream, and evaluates them by their
    encoder and by OMP, beside a code that has learned nothing. Everything resumes; a second run only prints.
    """

    preset: str = "quick"
    """quick: the embedded model, d in {dense, 64, 32, 16, 8, 4}, minutes. full: 2 M tokens, three seeds, hours. gemma:
    a model of another family (`expander fetch gemma`). The paper's: pythia-70m-layer3, pythia-160m-layer4 and 8,
    qwen2.5-3b-layer12 and 24, llama-3.2-1b-layer6 and 12, with its recipe and its figures beside ours."""
    out: Path = Path("results/sae-comparison")
    """Results folder: SAEs in `sae`, evaluations in `saes/ledger.jsonl`; `expander figures --results` draws them."""
    model: str | None = None
    """Another source for the preset's model: a folder that transformers saved, a .gguf file, a name on the hub."""
    text: tuple[str, ...] = ()
    """Other text than the preset's: see `expander sae harvest`."""
    layer: int | None = None
    """Another layer than the preset's (for another layer or model choose another folder)."""
    d: tuple[int, ...] = ()
    """Other degrees than the preset's; the dense SAE is always there."""
    seeds: tuple[int, ...] = ()
    """Other seeds than the preset's; more seeds add to what is there."""
    steps: int | None = None
    """Other number of steps than the preset's."""
    device: str = "cpu"
    """Torch device of everything."""

    def run(self) -> None:
        from expander_theory.base import require_choice
        from expander_theory.results import table
        from sae_bridge.models import checked_device
        from sae_bridge.suites import SAESuite, architecture, comparisons

        known = comparisons()
        require_choice("preset", self.preset, tuple(known))
        setting = known[self.preset].changed(
            model=self.model, text=self.text, layer=self.layer, degrees=self.d, seeds=self.seeds, steps=self.steps
        )
        suite = SAESuite(setting, self.out, str(checked_device(self.device)))
        members = [(architecture(setting.recipe, d), seed) for seed in setting.seeds for d in setting.degrees]
        records = suite.compare("frontier", members)
        print(table([_row(record, setting) for record in records]))
        print("\nCodes of the same k that have learned nothing, or next to nothing:\n")
        print(table([_null_row(null) for null in suite.nulls()]))
        print(f"\n{_note(records)}")


def _row(record: EvaluationRecord, setting: Setting) -> dict[str, Any]:
    """A record as a row of the table."""
    from expander_theory.results import with_interval

    row = {
        "SAE": record.name,
        "decoder values": record.decoder_values,
        "m/d": record.m / record.d,
        "rate": record.learning_rate,
        "FVU": record.fvu,
        "CE recovered (zero)": with_interval(record, "recovered_zero"),
        "(mean)": with_interval(record, "recovered_mean"),
        "delta CE": with_interval(record, "delta"),
        "KL": with_interval(record, "kl"),
        "L0": record.l0,
        "dead": f"{record.dead / record.n:.1%}",
        "OMP: FVU": record.omp_fvu,
        "OMP >= 0: FVU": record.omp_nonnegative_fvu,
        "OMP: CE recovered": with_interval(record, "omp_recovered_zero"),
        "OMP: delta CE": record.omp_delta,
        "eff. degree": record.collapse and record.collapse.effective_degree,
        "train s": record.train_seconds,
        "train MB": _TRAINED_BYTES * record.parameters / 1e6,
    }
    reported = dict(setting.reported)
    label = "dense tied" if record.variant == "dense" else f"d={record.d}"
    return row | ({"paper: CE recovered": reported.get(label)} if reported else {})


_TRAINED_BYTES = 16
"""Of one float32 parameter with its gradient and Adam's two moments: what training holds besides the batch."""


def _null_row(null: NullRecord) -> dict[str, Any]:
    """A code without learning as a row of its table."""
    from expander_theory.results import with_interval

    return {
        "code": null.label,
        "values from data": null.decoder_values,
        "FVU": null.fvu,
        "CE recovered (zero)": with_interval(null, "recovered_zero"),
        "delta CE": with_interval(null, "delta"),
        "L0": null.l0,
    }


def _note(records: Sequence[EvaluationRecord]) -> str:
    """What the table means, in words."""
    from sae_bridge.evaluation import conventions

    first = records[0]
    return (
        f"{conventions(first.positions, first.baseline, first.resample)} Dead: on none of "
        f"{first.seen_tokens:,} tokens. OMP: codes of the same k by orthogonal matching pursuit on the same "
        "decoder, signs free, and under codes >= 0. Rate: each architecture's own, from the recorded sweep, where "
        "there is one. Eff. degree: mean of 1 / sum w^4 over unit columns, weighted by the energy that they carry; 1 "
        "is one-hot. Train s: optimiser steps alone. Train MB: parameters, gradients and moments."
    )
