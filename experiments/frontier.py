"""Claim: d traces a storage-fidelity frontier. SAEs on one layer of a real model, evaluated end to end."""

from dataclasses import asdict
from pathlib import Path

from expander_theory.ledger import Ledger
from experiments.presets import Preset
from sae_bridge.activations import ActivationStore, harvest
from sae_bridge.evaluate import BASELINE, Losses, baseline_losses, evaluation_row, require_trained_on
from sae_bridge.language_models import LanguageModel, load_language_model
from sae_bridge.sae import load_sae
from sae_bridge.text import TextSource
from sae_bridge.train import Training, train


def harvest_default(preset: Preset, folder: Path) -> tuple[LanguageModel, ActivationStore]:
    """Activations of the default model on the default text."""
    model = load_language_model()
    return model, harvest(model, TextSource(), preset.harvest, folder)


def trainings(preset: Preset) -> dict[str, Training]:
    """The SAEs of the preset by name."""
    plan = preset.frontier
    return {
        f"{'dense' if d is None else f'd{d}'}-seed{seed}": Training(
            d=d,
            n=plan.n,
            k=plan.k,
            steps=plan.steps,
            batch=plan.batch,
            learning_rate=plan.learning_rate,
            seed=seed,
        )
        for seed in plan.seeds
        for d in plan.degrees
    }


def train_all(preset: Preset, store: ActivationStore, folder: Path) -> None:
    """Train every SAE of the preset, on the same batches in the same order for each seed."""
    for name, how in trainings(preset).items():
        train(store, how, folder / name)


def evaluate_all(preset: Preset, model: LanguageModel, store: ActivationStore, saes: Path, folder: Path) -> None:
    """Evaluate every trained SAE into a ledger."""
    plan = {key: value for key, value in asdict(preset.frontier).items() if key != "seeds"}
    about = {key: store.description[key] for key in ("model", "layer", "hook", "documents", "contexts", "context")}
    identity = {"kind": "frontier", "activations_sha256": store.sha256, "note": BASELINE, **about, **plan}
    with Ledger(folder / "ledger.jsonl", identity) as ledger:
        done = {record["name"] for record in ledger.records if "name" in record}
        todo = [name for name in trainings(preset) if name not in done]
        if not todo:
            return
        baselines = _baselines(model, store, ledger)
        for name in todo:
            path = saes / name / "sae.safetensors"
            sae, training = load_sae(path)
            require_trained_on(store, training, path)
            ledger.append({**evaluation_row(name, sae, model, store, baselines), "seed": trainings(preset)[name].seed})


def _baselines(model: LanguageModel, store: ActivationStore, ledger: Ledger) -> Losses:
    """Losses without any SAE, measured once and kept in the ledger."""
    import numpy as np

    for record in ledger.records:
        if "baselines" in record:
            return Losses(**{name: np.array(values) for name, values in record["baselines"].items()})
    losses = baseline_losses(model, store)
    ledger.append({"baselines": {name: values.tolist() for name, values in vars(losses).items()}})
    return losses
