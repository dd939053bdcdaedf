"""Trains the SAEs of a setting and judges each once; experiments say which ones they compare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from expander_theory.base import InvalidFile, progress_bar
from expander_theory.masks import save_mask, uniform_mask
from expander_theory.results import (
    BaselinesRecord,
    EvaluationRecord,
    Ledger,
    MembershipRecord,
    NullRecord,
    Record,
    canonical_json,
    read_ledger,
    read_records,
)
from sae_bridge.activations import ActivationStore, StoredStream, TextSource, harvest
from sae_bridge.evaluation import Losses, Null, Nulls, conventions
from sae_bridge.models import LanguageModel, load_language_model, sample_text
from sae_bridge.sae import SparseAutoencoder, is_sae_folder, load_sae, pruned
from sae_bridge.suites._measuring import Measuring
from sae_bridge.suites._pairs import append_pairs, dense_rivals, untrained_rivals
from sae_bridge.suites.presets import Setting
from sae_bridge.suites.variants import Variant, architecture, control_mask
from sae_bridge.training import Training, best_rates, train

Kind = TypeVar("Kind", bound=Record)

_TOGETHER = 8
"""SAEs for which the model is run over the held-out text at once: what an interruption can lose."""

_ORDER = 0
"""Seed of the order of batches and of the runs that find learning rates: the same whatever the SAEs' seeds."""

_SAMPLED_TOKENS = 256
"""Of a document that the model writes itself, at most; less where its context is shorter."""

_AGREE = 1e-3
"""Nats a token by which clean losses of one text may differ between machines; rounding makes some 1e-5."""

Member = tuple[Variant, int]
"""A variant and a seed."""


def file_name(variant: Variant, seed: int) -> str:
    """The name of one trained SAE, in folders and records."""
    return f"{variant.name}-seed{seed}"


class SAESuite:
    """The SAEs of one setting, in one folder.

    Args:
        setting: where they are trained.
        out: results folder; activations, masks, rates, SAEs and the ledger ``saes/ledger.jsonl`` lie in it.
        device: torch device of everything.
    """

    def __init__(self, setting: Setting, out: Path, device: str = "cpu") -> None:
        self.setting, self.out, self.device = setting, out, device

    @cached_property
    def _harvested(self) -> tuple[LanguageModel, ActivationStore]:
        setting, text = self.setting, self.setting.text
        model = load_language_model(setting.model, device=self.device)
        if setting.sampled:
            tokens = min(_SAMPLED_TOKENS, model.longest_context or _SAMPLED_TOKENS)
            sample_text(model, self.out / "text", documents=setting.sampled, tokens=tokens)
            text = (str(self.out / "text"),)
        return model, harvest(model, TextSource(text), setting.harvest, self.out / "activations")

    @property
    def model(self) -> LanguageModel:
        """The language model."""
        return self._harvested[0]

    @property
    def store(self) -> ActivationStore:
        """The activations of the language model, harvested where they are not there yet."""
        return self._harvested[1]

    @cached_property
    def stream(self) -> StoredStream:
        """Training batches: the same for all SAEs."""
        return StoredStream(self.store, self.setting.batch, _ORDER)

    @property
    def ledger_path(self) -> Path:
        """The ledger of evaluations and of who belongs to which experiment."""
        return self.out / "saes" / "ledger.jsonl"

    def baselines(self) -> Losses | None:
        """Clean and ablated losses, once the ledger has them."""
        return next((Losses.from_fields(record.baselines) for record in self._records(BaselinesRecord)), None)

    def known_losses(self) -> Losses | None:
        """The baselines, if they are of these activations; None where the ledger holds those of another machine."""
        known = self.baselines()
        return known if known is not None and known.store_sha256 == self.store.sha256 else None

    def null(self, k: int) -> NullRecord | None:
        """What was measured of the coordinate null at k active features."""
        return next((record for record in self._records(NullRecord) if record.name == null_name(k)), None)

    def nulls(self) -> list[NullRecord]:
        """What was measured of codes without learning, at the setting's own k."""
        return [record for record in self._records(NullRecord) if record.k == self.setting.recipe.k]

    def measured_nulls(self, ks: Iterable[int]) -> list[NullRecord]:
        """The coordinate null at each k, measured where the ledger does not hold it yet; k > m is left out.

        Raises:
            InvalidFile: the ledger holds results of other activations, whose clean losses differ from these.
        """
        ks, identity = sorted(set(ks)), self._identity()
        if any(self.null(k) is None for k in ks if k <= self.store.m):
            elsewhere = self._is_of_another_machine(identity)
            with Ledger(self.ledger_path, read_ledger(self.ledger_path)[0] if elsewhere else identity) as ledger:
                self._measure_nulls(ks, ledger, elsewhere)
        return [found for k in ks if (found := self.null(k)) is not None]

    def sae(self, variant: Variant, seed: int) -> SparseAutoencoder:
        """A trained SAE."""
        return load_sae(self.out / "sae" / file_name(variant, seed))[0].to(self.device)

    def _records(self, kind: type[Kind]) -> list[Kind]:
        return read_records(self.ledger_path, kind) if self.ledger_path.is_file() else []

    # ---- training

    def train(self, members: Iterable[Member]) -> None:
        """Train what is not trained yet, each at its own learning rate; pruned ones after the dense ones."""
        members = list(members)
        dense = architecture(self.setting.recipe, None)
        plain = [(variant, seed) for variant, seed in members if not variant.pruned]
        sources = [(dense, seed) for variant, seed in members if variant.pruned]
        self._train(list(dict.fromkeys(plain + sources)))
        for variant, seed in members:
            folder = self.out / "sae" / f"pruned-d{variant.training.d}-seed{seed}"
            if variant.pruned and not is_sae_folder(folder):
                sae = pruned(self.sae(dense, seed), variant.training.d or 1)
                sae.dictionary().save(folder / "dictionary.safetensors")
                sae.save(folder, {"kind": "pruned", "from": file_name(dense, seed)})
        self._train([(variant, seed) for variant, seed in members if variant.pruned == "retuned"])

    def _train(self, members: Sequence[Member]) -> None:
        runs = {}
        todo = [m for m in members if not self._is_trained(*m)]
        for variant, seed in progress_bar(todo, unit="SAE", desc="learning rates", show=bool(todo)):
            recipe = self._recipe(variant, seed)
            runs[file_name(variant, seed)] = replace(recipe, learning_rate=self.rate(variant))
        if runs:
            keys = ("model", "model_fingerprint", "layer", "hook", "context")
            about = {key: self.store.description[key] for key in keys}
            about["language_model"] = about["model"]
            train(runs, self.stream, self.out / "sae", device=self.device, about=about)

    def _is_trained(self, variant: Variant, seed: int) -> bool:
        folder = self.out / "sae" / file_name(variant, seed)
        if not is_sae_folder(folder):
            return False
        stream = {"activations_sha256": self.store.sha256, "batch": self.setting.batch, "order_seed": _ORDER}
        wanted, found = {**self._recipe(variant, seed).identity(), **stream}, load_sae(folder)[1]
        del wanted["learning_rate"]  # that of a sweep
        for name, value in wanted.items():
            if found.get(name) != value:
                said = f"was trained otherwise: {name} is {found.get(name)!r} there and {value!r} here"
                raise InvalidFile(folder, f"{said}; choose another folder")
        return True

    def rate(self, variant: Variant) -> float:
        """The learning rate of a variant: the one that the ledger's SAEs have, else from a recorded sweep of short
        runs.
        """
        if variant.rate_of is not None:
            return self.rate(variant.rate_of) * variant.rate_factor
        trained = (record for record in self._records(EvaluationRecord) if record.variant == variant.name)
        known = next((record.learning_rate for record in trained if record.learning_rate is not None), None)
        if known is not None:
            return known
        setting = self.setting
        if not setting.rates:
            return variant.training.learning_rate
        short = replace(self._recipe(variant, _ORDER), steps=setting.rate_steps)
        folder = self.out / "rates" / variant.name
        found = best_rates(
            {variant.name: short}, setting.rates, self.stream, self.store, folder, device=self.device, progress=False
        )
        return found[variant.name]

    def _recipe(self, variant: Variant, seed: int) -> Training:
        how = replace(variant.training, seed=seed)
        if variant.pruned:
            return replace(how, start=self.out / "sae" / f"pruned-d{how.d}-seed{seed}")
        if not variant.family:
            return how
        path = self.out / "control-masks" / f"{file_name(variant, seed)}.safetensors"
        if not path.is_file():
            save_mask(control_mask(variant.family, self.store.m, how.n, how.d or 1, seed), path)
        return replace(how, mask=path)

    # ---- evaluation

    def compare(self, group: str, members: Iterable[Member]) -> list[EvaluationRecord]:
        """Train and evaluate the members of an experiment; returns their records, in their order.

        The ledger gets a record of each SAE that it does not hold yet, and one for each member that names the group.
        SAEs that it holds are not trained again. Beside them stand codes that have learned nothing: the coordinate
        null at every k that a member has, which each member is compared with, and the nulls that the setting names.

        Args:
            group: name of the experiment.
            members: what it compares; of none nothing is measured.

        Raises:
            InvalidFile: the ledger holds results of other activations. Those of another machine, which differ in their
                last digits, may go on with a ledger if the clean losses agree; each record names the activations that
                it was measured on.
        """
        members = list(dict.fromkeys(members))
        if not members:
            return []
        known = {record.name for record in self._records(EvaluationRecord)}
        self.train(m for m in members if file_name(*m) not in known)
        identity = self._identity()
        elsewhere = self._is_of_another_machine(identity)
        with Ledger(self.ledger_path, read_ledger(self.ledger_path)[0] if elsewhere else identity) as ledger:
            known = {record.name for record in ledger.of(EvaluationRecord)}
            todo = [m for m in members if file_name(*m) not in known]
            for start in range(0, len(todo), _TOGETHER):
                self._evaluate(todo[start : start + _TOGETHER], ledger, elsewhere)
            _join(group, members, ledger)
            self._measure_nulls({variant.training.k for variant, _ in members}, ledger, elsewhere)
            self._pair(group, members, ledger)
            records = {record.name: record for record in ledger.of(EvaluationRecord)}
        return [records[file_name(*m)] for m in members]

    def _identity(self) -> dict[str, Any]:
        about = {key: self.store.description[key] for key in ("layer", "hook", "documents", "contexts", "context")}
        setting = self.setting
        return {
            "kind": "sae suite",
            "setting": setting.name,
            "activations_sha256": self.store.sha256,
            "model": self.store.description["model"],
            "m": self.store.m,
            "batch": setting.batch,
            "positions": setting.positions,
            "recipe": setting.recipe.identity(),
            "reported": dict(setting.reported),
            **about,
        }

    def _is_of_another_machine(self, identity: Mapping[str, Any]) -> bool:
        """Whether the ledger is of the same setting, text and model, and only its activations are not these."""
        if not self.ledger_path.is_file():
            return False
        stored, own = read_ledger(self.ledger_path)[0], json.loads(canonical_json(dict(identity)))
        return stored != own and {**stored, "activations_sha256": own["activations_sha256"]} == own

    def _measuring(self, elsewhere: bool) -> Measuring:
        return Measuring(self.setting, self.model, self.store, None if elsewhere else self.baselines())

    def _evaluate(self, members: Sequence[Member], ledger: Ledger, elsewhere: bool) -> None:
        known = self.baselines()
        saes = {file_name(variant, seed): (variant, seed, self.sae(variant, seed)) for variant, seed in members}
        losses, records = self._measuring(elsewhere).saes(saes, self.out / "sae")
        if elsewhere and known is not None:
            self._require_same_text(known, losses)
        if known is None:
            clean = losses.fidelity("clean")
            note = conventions(clean.positions, clean.baseline, clean.resample)
            ledger.append(BaselinesRecord(losses.baselines().as_fields(), note))
        for record in records:
            ledger.append(record)

    def _measure_nulls(self, ks: Iterable[int], ledger: Ledger, elsewhere: bool) -> None:
        """The nulls that the ledger does not hold yet."""
        have = {record.name for record in ledger.of(NullRecord)}
        todo = [null for null in self._nulls(sorted(ks)) if null.name not in have]
        if not todo:
            return
        known = self.baselines()
        losses, records = self._measuring(elsewhere).nulls(todo)
        if elsewhere and known is not None:
            self._require_same_text(known, losses)
        for record in records:
            ledger.append(record)

    def _nulls(self, ks: Iterable[int]) -> list[Null]:
        """Those of every k; at the setting's own with untrained masks of the frontier's sizes."""
        setting, nulls = self.setting, Nulls(self.store)
        recipe = setting.recipe
        own, *masks = (
            uniform_mask(self.store.m, recipe.n, d, seed=recipe.seed) for d in (setting.d, *setting.sparse_degrees)
        )
        found = [null for k in ks if k != recipe.k for null in nulls.at(k, setting.nulls_over_k, (own,))]
        return [*found, *nulls.at(recipe.k, setting.nulls, (*masks, recipe.n))]

    def _pair(self, group: str, members: Sequence[Member], ledger: Ledger) -> None:
        """Each SAE against others of the same seed, and against the null of its k.

        The others are the dense one, the plain ones of its degree and of the smallest, the first of the experiment, and
        of all in the group the dense ones with the same encoder that take no less storage. What OMP codes is compared
        with the best untrained mask, too.
        """
        known = self.baselines()
        if known is None:
            return
        base = self.setting.recipe
        smallest = [architecture(base, d) for d in sorted(self.setting.sparse_degrees)[:1]]
        shared = (architecture(base, None), *smallest, members[0][0])
        pairs = [
            (file_name(variant, seed), file_name(other, seed))
            for variant, seed in members
            for other in (*shared, architecture(base, variant.training.d))
        ]
        pairs += [(file_name(variant, seed), null_name(variant.training.k)) for variant, seed in members]
        joined = {record.member for record in ledger.of(MembershipRecord) if record.group == group}
        evaluated = [record for record in ledger.of(EvaluationRecord) if record.name in joined]
        pairs += dense_rivals(evaluated)
        pairs += untrained_rivals(evaluated, ledger.of(NullRecord)).items()
        append_pairs(ledger, known, pairs)

    def _require_same_text(self, known: Losses, found: Losses) -> None:
        """The losses of both machines must be of the same contexts and agree where nothing is replaced."""
        same = known.model_fingerprint == found.model_fingerprint and all(
            np.array_equal(getattr(known, name), getattr(found, name)) for name in ("documents", "predictions")
        )
        apart = np.abs(known.ce["clean"] - found.ce["clean"]) / known.predictions if same else np.array([np.inf])
        if not apart.max() <= _AGREE:
            raise InvalidFile(
                self.ledger_path,
                f"holds results of other activations: clean losses differ by up to {apart.max():.3g} nats a token; "
                "choose another folder",
            )


def null_name(k: int) -> str:
    """The name of the coordinate null at k in records."""
    return f"null-k{k}"


def _join(group: str, members: Sequence[Member], ledger: Ledger) -> None:
    """A record for each member of an experiment that the ledger does not name yet."""
    joined = {(record.group, record.member) for record in ledger.of(MembershipRecord)}
    for order, (variant, seed) in enumerate(members):
        name = file_name(variant, seed)
        if (group, name) not in joined:
            ledger.append(MembershipRecord(group, name, variant.name, variant.label, seed, order))
