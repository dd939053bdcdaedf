"""Everything that is measured of one trained SAE, or of a code that has learned nothing, as records of a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expander_theory.dictionaries import AnyDictionary, Dictionary
from expander_theory.results import (
    Collisions,
    DecoderGeometry,
    EvaluationRecord,
    FiringRates,
    InferenceRow,
    NullRecord,
    StepRecord,
    read_records,
)
from sae_bridge.activations import ActivationStore
from sae_bridge.codes import Coder
from sae_bridge.evaluation import (
    CodeFunction,
    Losses,
    Null,
    amortisation_gap,
    collapse,
    collisions,
    encode_microseconds,
    evaluation_row,
    firing_summary,
    geometry,
    mean_activation,
    measure_losses,
    paper_ratios,
    reconstruction,
    replacement,
)
from sae_bridge.models import LanguageModel
from sae_bridge.sae import SparseAutoencoder, load_sae, storage
from sae_bridge.suites.presets import Setting
from sae_bridge.suites.variants import Variant
from sae_bridge.training import METRICS

PURSUITS = ("omp", "omp_nonnegative")


class Measuring:
    """One setting's held-out text: SAEs and nulls are measured on it, several at a time.

    Args:
        setting: where they are trained, and which positions count.
        model, store: the language model and its activations.
        known: clean and ablated losses, where they were measured before.
    """

    def __init__(self, setting: Setting, model: LanguageModel, store: ActivationStore, known: Losses | None) -> None:
        self.setting, self.model, self.store, self.known = setting, model, store, known
        self._mean = mean_activation(store, "train")

    def saes(
        self, saes: Mapping[str, tuple[Variant, int, SparseAutoencoder]], folder: Path
    ) -> tuple[Losses, list[EvaluationRecord]]:
        """Measure trained SAEs.

        Args:
            saes: by name: variant, seed, and the SAE in evaluation mode.
            folder: where each lies, in a folder of its name.

        Returns:
            The losses, with the clean and ablated ones, and a record of each SAE.
        """
        changes = {name: replacement(sae) for name, (*_, sae) in saes.items()}
        if self.setting.pursued:
            changes |= {_pursued(name): replacement(sae, _by_omp(sae)) for name, (*_, sae) in saes.items()}
        losses = self._losses(changes)
        return losses, [self._record(name, *saes[name], losses, folder / name) for name in saes]

    def nulls(self, nulls: Sequence[Null]) -> tuple[Losses, list[NullRecord]]:
        """Measure codes that have learned nothing: no training, one evaluation."""
        codes = {null.name: null.build().to(self.model.device) for null in nulls}
        losses = self._losses({name: replacement(code) for name, code in codes.items()})
        records = []
        for null in nulls:
            kept = reconstruction(codes[null.name], self.store, training_tokens=0, progress=False)
            measured = vars(evaluation_row(null.name, codes[null.name], kept, losses.fidelity(null.name)))
            records.append(
                NullRecord(
                    **{**measured, "architecture": "null", "decoder_values": null.learned},
                    label=null.label,
                    activations_sha256=self.store.sha256,
                    ce_by_context=_by_context(losses, null.name),
                    code=None if null.kind == "coordinates" else null.kind,
                )
            )
        return losses, records

    def _losses(self, changes: Mapping[str, Any]) -> Losses:
        return measure_losses(changes, self.model, self.store, positions=self.setting.positions, known=self.known)

    def _record(
        self,
        name: str,
        variant: Variant,
        seed: int,
        sae: SparseAutoencoder,
        losses: Losses,
        folder: Path,
    ) -> EvaluationRecord:
        kept = reconstruction(sae, self.store, progress=False)
        methods = PURSUITS if self.setting.pursued else PURSUITS[:1]
        coded = {row.method: row for row in amortisation_gap(sae, self.store, methods=methods, progress=False)}
        measured = vars(evaluation_row(name, sae, kept, losses.fidelity(name)))
        return EvaluationRecord(
            **{**measured, **storage(sae, variant.stored)},
            variant=variant.name,
            seed=seed,
            pruned=variant.pruned,
            family=variant.family or _family(variant, sae),
            ce_by_context=_by_context(losses, name),
            omp_fvu=coded["omp"].fvu,
            omp_fvu_interval=coded["omp"].fvu_interval,
            **(_pursuits(name, losses, coded) if self.setting.pursued else {}),
            geometry=DecoderGeometry(**geometry(sae.dictionary()), **_ratios(sae.dictionary(), sae.k, seed)),
            firing=FiringRates(**firing_summary(sae, self.store)),
            collisions=Collisions(**collisions(sae, self.store)) if sae.mask and sae.dense is None else None,
            collapse=collapse(sae, self.store, mean=self._mean),
            encode_microseconds=encode_microseconds(sae, self.store),
            activations_sha256=self.store.sha256,
            dense_columns=None if sae.mask is None or sae.dense is None else len(sae.dense),
            **_training(folder),
        )


def _family(variant: Variant, sae: SparseAutoencoder) -> str:
    if sae.mask is None:
        return "dense"
    return "uniform" if variant.training.supports == "fixed" else "learned"


def _by_omp(sae: SparseAutoencoder) -> CodeFunction:
    coder = Coder(sae)
    return lambda h: coder(h, "omp")


def _pursued(name: str) -> str:
    return f"{name} omp"


def _pursuits(name: str, losses: Losses, coded: Mapping[str, InferenceRow]) -> dict[str, Any]:
    """Codes by OMP in the place of the encoder's, in the model too."""
    in_model = losses.fidelity(_pursued(name))
    return {
        "omp_nonnegative_fvu": coded["omp_nonnegative"].fvu,
        "omp_overlap": coded["omp"].overlap,
        "omp_delta": in_model.delta,
        "omp_recovered_zero": in_model.recovered_zero,
        "omp_recovered_zero_interval": in_model.recovered_zero_interval,
    }


def _by_context(losses: Losses, name: str) -> tuple[float, ...]:
    return tuple(round(float(ce), 6) for ce in losses.ce[name])


def _ratios(dictionary: AnyDictionary, k: int, seed: int) -> dict[str, Any]:
    if not isinstance(dictionary, Dictionary) or 2 * k > dictionary.n:
        return {}
    return paper_ratios(dictionary, k, seed=seed)


def _training(folder: Path) -> dict[str, Any]:
    """Learning rate, curve and time of a trained SAE; nothing for one that was only pruned."""
    _, fields = load_sae(folder)
    if not (folder / METRICS).is_file():
        return {"learning_rate": None, "steps": 0, "curve": (), "train_seconds": 0.0}
    curve = read_records(folder / METRICS, StepRecord)
    return {
        "learning_rate": fields["learning_rate"],
        "steps": fields["steps"],
        "curve": tuple((record.step, record.fvu, record.dead) for record in curve),
        "train_seconds": curve[-1].seconds,
    }
