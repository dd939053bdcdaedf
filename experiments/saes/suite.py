"""Trains the SAEs of a setting and evaluates each once; experiments say which ones they compare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.base import InvalidFile, progress_bar
from expander_theory.dictionaries import AnyDictionary, Dictionary
from expander_theory.masks import save_mask
from expander_theory.results import Ledger, canonical_json, read_ledger
from experiments.saes.sae_comparison import activations
from experiments.saes.settings import Setting
from experiments.saes.variants import Variant, architecture, control_mask
from sae_bridge.activations import ActivationStore, StoredStream
from sae_bridge.codes import Coder
from sae_bridge.evaluation import (
    Bootstrap,
    CodeFunction,
    Losses,
    amortisation_gap,
    collisions,
    conventions,
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
from sae_bridge.sae import SparseAutoencoder, coordinate_null, is_sae_folder, load_sae, pruned, storage
from sae_bridge.training import METRICS, Training, best_rates, train

_TOGETHER = 8
"""SAEs for which the model is run over the held-out text at once: what an interruption can lose."""

_AGREE = 1e-3
"""Nats a token by which clean losses of one text may differ between machines; rounding makes some 1e-5."""

Member = tuple[Variant, int]
"""A variant and a seed."""


def file_name(variant: Variant, seed: int) -> str:
    """Of one trained SAE."""
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
        return activations(self.setting.plan, self.out / "activations", self.device)

    @property
    def model(self) -> LanguageModel:
        """The language model."""
        return self._harvested[0]

    @property
    def store(self) -> ActivationStore:
        """Its activations."""
        return self._harvested[1]

    @cached_property
    def stream(self) -> StoredStream:
        """Training batches: the same for all SAEs."""
        return StoredStream(self.store, self.setting.plan.batch, self.setting.plan.seeds[0])

    @property
    def ledger_path(self) -> Path:
        """Of the evaluations and of who belongs to which experiment."""
        return self.out / "saes" / "ledger.jsonl"

    def baselines(self) -> Losses | None:
        """Clean and ablated losses, once the ledger has them."""
        records = read_ledger(self.ledger_path)[1] if self.ledger_path.is_file() else []
        return next((Losses.from_fields(r["baselines"]) for r in records if "baselines" in r), None)

    def sae(self, variant: Variant, seed: int) -> SparseAutoencoder:
        """A trained SAE."""
        return load_sae(self.out / "sae" / file_name(variant, seed))[0].to(self.device)

    # ---- training

    def train(self, members: Iterable[Member]) -> None:
        """Train what is not trained yet, each at its own learning rate; pruned ones after the dense ones."""
        members = list(members)
        dense = architecture(self.setting.base, None)
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
        todo = [m for m in members if not is_sae_folder(self.out / "sae" / file_name(*m))]
        for variant, seed in progress_bar(todo, unit="SAE", desc="learning rates", show=bool(todo)):
            recipe = self._recipe(variant, seed)
            runs[file_name(variant, seed)] = replace(recipe, learning_rate=self.rate(variant))
        if runs:
            keys = ("model", "model_fingerprint", "layer", "hook", "context")
            about = {key: self.store.description[key] for key in keys}
            about["language_model"] = about["model"]
            train(runs, self.stream, self.out / "sae", device=self.device, about=about)

    def rate(self, variant: Variant) -> float:
        """The learning rate of a variant, from a recorded sweep of short runs with the first seed."""
        if variant.rate_of is not None:
            return self.rate(variant.rate_of)
        plan = self.setting.plan
        if not plan.rates:
            return variant.training.learning_rate
        short = replace(self._recipe(variant, plan.seeds[0]), steps=plan.rate_steps)
        folder = self.out / "rates" / variant.name
        found = best_rates(
            {variant.name: short}, plan.rates, self.stream, self.store, folder, device=self.device, progress=False
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

    def compare(self, group: str, members: Iterable[Member], nulls: Iterable[int] = ()) -> list[dict[str, Any]]:
        """Train and evaluate the members of an experiment; returns their records, in their order.

        The ledger gets a record of each SAE that it does not hold yet, and one for each member that names the group.
        SAEs that it holds are not trained again.

        Args:
            group: name of the experiment.
            members: what it compares.
            nulls: numbers of active features for which the coordinate null is measured too, and every member of such a
                k set beside it.

        Raises:
            InvalidFile: the ledger holds results of other activations, unless only nulls are missing: these may be
                added on another machine, whose activations differ in their last digits, if its clean losses agree.
        """
        members, nulls = list(dict.fromkeys(members)), sorted(set(nulls))
        known = self._evaluated()
        self.train(m for m in members if file_name(*m) not in known)
        identity = self._identity()
        elsewhere = all(file_name(*m) in known for m in members) and self._is_of_another_machine(identity)
        if elsewhere:
            identity = read_ledger(self.ledger_path)[0]
        with Ledger(self.ledger_path, identity) as ledger:
            known = {r["name"] for r in ledger.records if "name" in r}
            joined = {(r["group"], r["member"]) for r in ledger.records if "group" in r}
            todo = [m for m in members if file_name(*m) not in known]
            for start in range(0, len(todo), _TOGETHER):
                self._evaluate(todo[start : start + _TOGETHER], ledger)
            for order, (variant, seed) in enumerate(members):
                if (group, file_name(variant, seed)) not in joined:
                    ledger.append(
                        {
                            "group": group,
                            "member": file_name(variant, seed),
                            "variant": variant.name,
                            "label": variant.label,
                            "seed": seed,
                            "order": order,
                        }
                    )
            self._pair(members, ledger)
            if nulls:
                self._measure_nulls(nulls, ledger, elsewhere)
                self._pair_with_nulls(members, ledger)
            records = {r["name"]: r for r in ledger.records if "name" in r}
        return [records[file_name(*m)] for m in members]

    def _evaluated(self) -> set[str]:
        """Names of the SAEs that the ledger holds."""
        records = read_ledger(self.ledger_path)[1] if self.ledger_path.is_file() else []
        return {r["name"] for r in records if "name" in r}

    def _identity(self) -> dict[str, Any]:
        about = {key: self.store.description[key] for key in ("layer", "hook", "documents", "contexts", "context")}
        plan = self.setting.plan
        return {
            "kind": "sae suite",
            "setting": self.setting.name,
            "activations_sha256": self.store.sha256,
            "model": self.store.description["model"],
            "m": self.store.m,
            "batch": plan.batch,
            "positions": plan.positions,
            "recipe": plan.recipe.identity(),
            "reported": dict(plan.reported),
            **about,
        }

    def _is_of_another_machine(self, identity: Mapping[str, Any]) -> bool:
        """Whether the ledger is of the same setting, text and model, and only its activations are not these."""
        if not self.ledger_path.is_file():
            return False
        stored, own = read_ledger(self.ledger_path)[0], json.loads(canonical_json(dict(identity)))
        return stored != own and {**stored, "activations_sha256": own["activations_sha256"]} == own

    def _pair(self, members: Sequence[Member], ledger: Ledger) -> None:
        """Each SAE against others of the same seed on the same contexts: ratio of CE recovered, difference of CE.

        Against the dense one, the plain ones of its degree and of the smallest, and the first of the experiment.
        """
        known = self.baselines()
        paired = {(r["pair"], r["to"]) for r in ledger.records if "pair" in r}
        records = {r["name"]: r for r in ledger.records if "name" in r}
        if known is None:
            return
        bootstrap, base = Bootstrap(known.documents), self.setting.base
        shared = (architecture(base, None), architecture(base, min(self.setting.degrees)), members[0][0])
        others = {
            (file_name(variant, seed), file_name(other, seed)): None
            for variant, seed in members
            for other in (*shared, architecture(base, variant.training.d))
        }
        for name, reference in others:
            if name == reference or (name, reference) in paired or reference not in records:
                continue
            ledger.append(_pair_record(known, bootstrap, (name, records[name]), (reference, records[reference])))

    def _pair_with_nulls(self, members: Sequence[Member], ledger: Ledger) -> None:
        """Each SAE against the coordinate null of its k, on the same contexts."""
        known = self.baselines()
        if known is None:
            return
        paired = {(r["pair"], r["to"]) for r in ledger.records if "pair" in r}
        records = {r["name"]: r for r in ledger.records if "name" in r}
        nulls = {r["null"]: r for r in ledger.records if "null" in r}
        bootstrap = Bootstrap(known.documents)
        for name in (file_name(*m) for m in members):
            null = null_name(records[name]["k"])
            if null in nulls and (name, null) not in paired:
                ledger.append(_pair_record(known, bootstrap, (name, records[name]), (null, nulls[null])))

    def _measure_nulls(self, ks: Sequence[int], ledger: Ledger, elsewhere: bool) -> None:
        """The coordinate null at every k that the ledger does not hold yet: no training, one evaluation."""
        have = {r["null"] for r in ledger.records if "null" in r}
        todo = [k for k in ks if null_name(k) not in have and k <= self.store.m]
        if not todo:
            return
        mean, known = mean_activation(self.store, "train").float(), self.baselines()
        nulls = {null_name(k): coordinate_null(mean, k).to(self.device) for k in todo}
        losses = measure_losses(
            {name: replacement(null) for name, null in nulls.items()},
            self.model,
            self.store,
            positions=self.setting.plan.positions,
            known=None if elsewhere else known,
        )
        if elsewhere and known is not None:
            self._require_same_text(known, losses)
        for name, null in nulls.items():
            kept = reconstruction(null, self.store, training_tokens=0, progress=False)
            row = evaluation_row(name, null, kept, losses.fidelity(name))
            del row["name"]
            about = {"architecture": "null", "decoder_values": 0, "activations_sha256": self.store.sha256}
            ce = [round(float(value), 6) for value in losses.ce[name]]
            ledger.append(
                {"null": name, "label": f"coordinate null, k = {null.k}", **row, **about, "ce_by_context": ce}
            )

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

    def _evaluate(self, members: Sequence[Member], ledger: Ledger) -> None:
        known = self.baselines()
        saes = {file_name(*m): self.sae(*m) for m in members}
        coders = {
            file_name(variant, seed): _by_omp(saes[file_name(variant, seed)])
            for variant, seed in members
            if variant.training.codes == "omp"  # its encoder has learned nothing
        }
        losses = measure_losses(
            {name: replacement(sae, coders.get(name)) for name, sae in saes.items()},
            self.model,
            self.store,
            positions=self.setting.plan.positions,
            known=known,
        )
        if known is None:
            clean = losses.fidelity("clean")
            note = conventions(clean.positions, clean.baseline, clean.resample)
            ledger.append({"baselines": losses.baselines().as_fields(), "note": note})
        for (variant, seed), (name, sae) in zip(members, saes.items(), strict=True):
            kept = reconstruction(sae, self.store, codes=coders.get(name), progress=False)
            coded = {row["method"]: row for row in amortisation_gap(sae, self.store, methods=("omp",), progress=False)}
            dictionary = sae.dictionary()
            ledger.append(
                {
                    **evaluation_row(name, sae, kept, losses.fidelity(name)),
                    **storage(sae, variant.stored),
                    "variant": variant.name,
                    "seed": seed,
                    "pruned": variant.pruned,
                    "family": variant.family or ("dense" if sae.mask is None else "uniform"),
                    "ce_by_context": [round(float(ce), 6) for ce in losses.ce[name]],
                    "omp_fvu": coded["omp"]["fvu"],
                    "omp_fvu_interval": coded["omp"]["fvu_interval"],
                    "geometry": geometry(dictionary) | self._ratios(dictionary, sae.k, seed),
                    "firing": firing_summary(sae, self.store),
                    "collisions": None if sae.mask is None else collisions(sae, self.store),
                    **self._training(name),
                }
            )

    @staticmethod
    def _ratios(dictionary: AnyDictionary, k: int, seed: int) -> dict[str, Any]:
        if not isinstance(dictionary, Dictionary) or 2 * k > dictionary.n:
            return {}
        return paper_ratios(dictionary, k, seed=seed)

    def _training(self, name: str) -> Mapping[str, Any]:
        """Learning rate, curve and time of a trained SAE; nothing for one that was only pruned."""
        folder = self.out / "sae" / name
        _, fields = load_sae(folder)
        if not (folder / METRICS).is_file():
            return {"learning_rate": None, "steps": 0, "curve": [], "train_seconds": 0.0}
        curve = read_ledger(folder / METRICS)[1]
        return {
            "learning_rate": fields["learning_rate"],
            "steps": fields["steps"],
            "curve": [[record["step"], record["fvu"], record["dead"]] for record in curve],
            "train_seconds": curve[-1]["seconds"],
        }


def null_name(k: int) -> str:
    """Of the coordinate null in records."""
    return f"null-k{k}"


Named = tuple[str, Mapping[str, Any]]


def _pair_record(known: Losses, bootstrap: Bootstrap, own: Named, other: Named) -> dict[str, Any]:
    """One code against another on the same contexts: ratio of CE recovered, difference of CE."""
    ours, theirs = (np.array(record["ce_by_context"]) for _, record in (own, other))
    ratio, ratio_interval = bootstrap.ratio(known.ce["zero"] - ours, known.ce["zero"] - theirs)
    difference, difference_interval = bootstrap.mean(ours - theirs, known.predictions)
    about = {"ratio": ratio, "ratio_interval": ratio_interval}
    about |= {"ce_difference": difference, "ce_difference_interval": difference_interval}
    return {"pair": own[0], "to": other[0], **about}


def _by_omp(sae: SparseAutoencoder) -> CodeFunction:
    coder = Coder(sae)
    return lambda h: coder(h, "omp")
