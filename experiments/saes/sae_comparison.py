"""Claim: d traces a storage-fidelity frontier. Dense and expander SAEs on one layer, each at its own best rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from expander_theory.results import Ledger, read_ledger, with_interval
from experiments.saes.sae_presets import Comparison
from sae_bridge.activations import ActivationStore, StoredStream, TextSource, harvest
from sae_bridge.codes import Coder
from sae_bridge.evaluation import (
    Losses,
    amortisation_gap,
    conventions,
    evaluation_row,
    measure_losses,
    reconstruction,
    replacement,
    require_trained_on,
)
from sae_bridge.models import LanguageModel, load_language_model
from sae_bridge.sae import SparseAutoencoder, load_sae
from sae_bridge.training import METRICS, Training, best_rates, train

PURSUITS = ("omp", "omp_nonnegative")


def activations(plan: Comparison, folder: Path, device: str = "cpu") -> tuple[LanguageModel, ActivationStore]:
    """The model of a comparison and its activations, harvested where they are not there yet."""
    model = load_language_model(plan.model, device=device)
    return model, harvest(model, TextSource(plan.text), plan.harvest, folder)


def names(plan: Comparison) -> Iterator[tuple[str, int, int | None]]:
    """(name, seed, d) of every SAE of a comparison."""
    for seed in plan.seeds:
        for d in plan.degrees:
            yield f"{plan.name(d)}-seed{seed}", seed, d


def rates(plan: Comparison, store: ActivationStore, folder: Path, device: str = "cpu") -> dict[str, float]:
    """The learning rate of each architecture, from the recorded sweep (with the first seed)."""
    recipes = plan.recipes(plan.seeds[0])
    if not plan.rates:
        return {name: how.learning_rate for name, how in recipes.items()}
    short = {name: replace(how, steps=plan.rate_steps) for name, how in recipes.items()}
    stream = StoredStream(store, plan.batch, plan.seeds[0])
    return best_rates(short, plan.rates, stream, store, folder, device=device)


def train_all(
    plan: Comparison, store: ActivationStore, found: Mapping[str, float], folder: Path, device: str = "cpu"
) -> None:
    """Train every SAE of the comparison on one stream."""
    runs: dict[str, Training] = {}
    for name, seed, d in names(plan):
        architecture = plan.name(d)
        runs[name] = replace(plan.recipes(seed)[architecture], learning_rate=found[architecture])
    stream = StoredStream(store, plan.batch, plan.seeds[0])
    about = {key: store.description[key] for key in ("model", "model_fingerprint", "layer", "hook", "context")}
    train(runs, stream, folder, device=device, about={**about, "language_model": about["model"]})


def evaluate_all(
    plan: Comparison,
    model: LanguageModel,
    store: ActivationStore,
    saes: Path,
    folder: Path,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Evaluate every trained SAE, by its encoder and by OMP, into a ledger; returns the records."""
    about = {key: store.description[key] for key in ("model", "layer", "hook", "documents", "contexts", "context")}
    content = {**asdict(plan), "recipe": plan.recipe.identity()}
    for key in ("model", "seeds", "degrees"):  # further seeds and degrees add to what is there
        content.pop(key)
    identity = {"kind": "sae comparison", "activations_sha256": store.sha256, **about, **content}
    with Ledger(folder / "ledger.jsonl", identity) as ledger:
        done = {record["name"] for record in ledger.records if "name" in record}
        todo = {}
        for name, seed, d in names(plan):
            if name not in done:
                sae, fields = load_sae(saes / name)
                require_trained_on(store, fields, saes / name)
                todo[name] = sae.to(device), fields, seed, d
        if todo:
            _evaluate(plan, model, store, todo, saes, ledger)
        return [record for record in ledger.records if "name" in record]


def _evaluate(
    plan: Comparison,
    model: LanguageModel,
    store: ActivationStore,
    todo: Mapping[str, tuple[SparseAutoencoder, dict[str, Any], int, int | None]],
    saes: Path,
    ledger: Ledger,
) -> None:
    known = next((Losses.from_fields(r["baselines"]) for r in ledger.records if "baselines" in r), None)
    changes = {}
    for name, (sae, *_) in todo.items():
        changes[name] = replacement(sae)
        changes[f"{name} omp"] = Coder(sae).reconstruction("omp")
    losses = measure_losses(changes, model, store, positions=plan.positions, known=known)
    if known is None:
        clean = losses.fidelity("clean")
        about = conventions(clean.positions, clean.baseline, clean.resample)
        ledger.append({"baselines": losses.baselines().as_fields(), "note": about})
    for name, (sae, fields, seed, d) in todo.items():
        kept = reconstruction(sae, store)
        pursuits = {row["method"]: row for row in amortisation_gap(sae, store, methods=PURSUITS)}
        coded = losses.fidelity(f"{name} omp")
        ledger.append(
            {
                **evaluation_row(name, sae, kept, losses.fidelity(name)),
                **{f"{method}_fvu": pursuits[method]["fvu"] for method in PURSUITS},
                **{f"omp_{key}": getattr(coded, key) for key in ("delta", "recovered_zero", "recovered_zero_interval")},
                "omp_overlap": pursuits["omp"]["overlap"],
                "seed": seed,
                "learning_rate": fields["learning_rate"],
                "train_seconds": read_ledger(saes / name / METRICS)[1][-1]["seconds"],
                "train_bytes": training_bytes(sae),
                "reported": dict(plan.reported).get("dense tied" if d is None else f"d={d}"),
            }
        )


def training_bytes(sae: SparseAutoencoder) -> int:
    """Bytes of parameters, gradients and Adam's two moments: what training holds besides the batch."""
    return 4 * sum(p.numel() * p.element_size() for p in sae.parameters())


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as the row of the table that the command prints."""

    row = {
        "SAE": record["name"],
        "decoder values": record["decoder_values"],
        "m/d": record["m"] / record["d"],
        "rate": record["learning_rate"],
        "FVU": record["fvu"],
        "CE recovered (zero)": with_interval(record, "recovered_zero"),
        "(mean)": with_interval(record, "recovered_mean"),
        "delta CE": with_interval(record, "delta"),
        "KL": with_interval(record, "kl"),
        "L0": record["l0"],
        "dead": f"{record['dead'] / record['n']:.1%}",
        "OMP: FVU": record["omp_fvu"],
        "OMP >= 0: FVU": record["omp_nonnegative_fvu"],
        "OMP: CE recovered": with_interval(record, "omp_recovered_zero"),
        "OMP: delta CE": record["omp_delta"],
        "train s": record["train_seconds"],
        "train MB": record["train_bytes"] / 1e6,
    }
    return row if record["reported"] is None else {**row, "paper: CE recovered": record["reported"]}


def note(records: list[dict[str, Any]]) -> str:
    """What the table means, in words."""
    first = records[0]
    return (
        f"{conventions(first['positions'], first['baseline'], first['resample'])} Dead: on none of "
        f"{first['seen_tokens']:,} tokens. OMP: codes of the same k by orthogonal matching pursuit on the same "
        "decoder, signs free, and under codes >= 0. Rate: each architecture's own, from the recorded sweep, where "
        "there is one. Train s: optimiser steps alone. Train MB: parameters, gradients and moments."
    )
