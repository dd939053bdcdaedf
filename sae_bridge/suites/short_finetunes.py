"""Short finetunes of one SAE beside it: what each does to fidelity, and how many of its features stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.results import FinetuneRecord, StepRecord, read_records
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import (
    Bootstrap,
    Losses,
    Positions,
    cosines_to,
    evaluation_row,
    measure_losses,
    reconstruction,
    replacement,
)
from sae_bridge.models import LanguageModel
from sae_bridge.sae import SparseAutoencoder, load_sae
from sae_bridge.suites.equal_inference import learned
from sae_bridge.suites.presets import Setting
from sae_bridge.suites.variants import Variant, architecture, by_pursuit
from sae_bridge.training import METRICS, Finetuning

KEPT = 0.9
"""Cosine to its column before above which a feature counts as kept."""


@dataclass(frozen=True)
class Finetune:
    """One finetune of an experiment.

    Attributes:
        name: of its folder.
        label: in tables.
        how: weight and codes.
        learning_rate: peak rate.
    """

    name: str
    label: str
    how: Finetuning
    learning_rate: float


def finetune_start(setting: Setting) -> Variant:
    """The SAE that is finetuned: of the setting's degree, on learned supports, by OMP."""
    return by_pursuit(learned(architecture(setting.recipe, setting.d)))


def finetunes(setting: Setting) -> list[Finetune]:
    """At each rate the control and exact codes; at the first rate also constant codes and the other weights."""
    sizes, first = setting.finetune, setting.finetune.rates[0]
    found = []
    for rate in sizes.rates:
        found += [
            Finetune(f"control-rate{rate:g}", f"reconstruction alone, rate {rate:g}", Finetuning(weight=0.0), rate),
            Finetune(f"exact-rate{rate:g}", f"KL, exact codes, rate {rate:g}", Finetuning(), rate),
        ]
    label = f"KL, constant codes, rate {first:g}"
    found.append(Finetune(f"constant-rate{first:g}", label, Finetuning(codes="constant"), first))
    for weight in sizes.weights:
        label = f"KL of weight {weight:g}, exact codes, rate {first:g}"
        found.append(Finetune(f"exact-weight{weight:g}-rate{first:g}", label, Finetuning(weight=weight), first))
    return found


def finetune_records(
    start: tuple[str, SparseAutoencoder],
    saes: Mapping[str, SparseAutoencoder],
    labels: Mapping[str, str],
    folder: Path,
    model: LanguageModel,
    store: ActivationStore,
    *,
    step_contexts: int,
    positions: Positions = "kept",
    known: Losses | None = None,
    progress: bool = True,
) -> list[FinetuneRecord]:
    """Measure an SAE and its finetunes on the same held-out contexts.

    Args:
        start: name and SAE before.
        saes: after, by the name of their folders.
        labels: of each, by name; the start's is its name where none is given.
        folder: that holds theirs.
        model, store: the language model and its activations.
        step_contexts: contexts a step of the finetunes.
        positions, known: see :func:`sae_bridge.evaluation.measure_losses`.

    Returns:
        A record of the start, then one of each.
    """
    every = {start[0]: start[1], **saes}
    changes = {name: replacement(sae) for name, sae in every.items()}
    losses = measure_losses(changes, model, store, positions=positions, known=known, progress=progress)
    fields = {name: load_sae(folder / name)[1] for name in saes}
    controls = {of["learning_rate"]: name for name, of in fields.items() if of["finetuned"]["weight"] == 0}
    bootstrap = Bootstrap(losses.documents)
    found: list[FinetuneRecord] = []
    for name, sae in every.items():
        kept = reconstruction(sae, store, training_tokens=0, progress=progress)
        measured = evaluation_row(name, sae, kept, losses.fidelity(name))
        above = None if name == start[0] else start[0]
        control = None if above is None else controls.get(fields[name]["learning_rate"])
        own: dict[str, Any] = {
            **vars(measured),
            "label": labels.get(name, name),
            "step_contexts": step_contexts,
            "activations_sha256": store.sha256,
            "ce_by_context": tuple(round(float(ce), 6) for ce in losses.ce[name]),
            "fvu_above_start": None if above is None else measured.fvu - found[0].fvu,
            **_paired("ce_above_start", losses, bootstrap, name, above),
            **_paired("ce_above_control", losses, bootstrap, name, None if control == name else control),
            **(_BEFORE if above is None else _after(fields[name], cosines_to(sae, start[1]), folder / name)),
        }
        found.append(FinetuneRecord(**own, start=above or ""))
    return found


_BEFORE: dict[str, Any] = {
    **dict.fromkeys(("weight", "codes", "learning_rate", "cosine", "kept")),
    **{"steps": 0, "seed": 0, "curve": (), "train_seconds": 0.0},
}


def _after(fields: Mapping[str, Any], cosines: np.ndarray, folder: Path) -> dict[str, Any]:
    curve = read_records(folder / METRICS, StepRecord)
    return {
        **fields["finetuned"],
        **{name: fields[name] for name in ("learning_rate", "steps", "seed")},
        "cosine": float(cosines.mean()),
        "kept": float((cosines > KEPT).mean()),
        "curve": tuple((record.step, record.fvu, record.kl) for record in curve),
        "train_seconds": curve[-1].seconds,
    }


def _paired(field: str, losses: Losses, bootstrap: Bootstrap, own: str, other: str | None) -> dict[str, Any]:
    """Mean cross-entropy less another run's, and its interval."""
    if other is None:
        return {field: None, f"{field}_interval": None}
    value, interval = bootstrap.mean(losses.ce[own] - losses.ce[other], losses.predictions)
    return {field: value, f"{field}_interval": interval}


def finetune_row(record: FinetuneRecord) -> dict[str, Any]:
    """A record as a row of a table."""
    from expander_theory.results import with_interval

    def paired(name: str) -> str:
        return "" if getattr(record, name) is None else with_interval(record, name)

    return {
        "SAE": record.label,
        "FVU": with_interval(record, "fvu"),
        "CE recovered (zero)": with_interval(record, "recovered_zero"),
        "delta CE": with_interval(record, "delta"),
        "KL": with_interval(record, "kl"),
        "CE above the start": paired("ce_above_start"),
        "CE above the control": paired("ce_above_control"),
        "mean cosine": record.cosine,
        f"cosine > {KEPT}": record.kept,
    }
