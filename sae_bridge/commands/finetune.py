"""``expander sae finetune``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Finetune:
    """Finetune a trained SAE end to end. The KL divergence of the language model's output joins the loss.

    The model is frozen; gradients go through its upper half. FVU, CE and KL before and after are printed with the
    paired difference, and how many features stay. A run resumes to the bit; its `cfg.json` says that it was finetuned.
    """

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`."""
    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`, which it was trained on; its training text is used."""
    out: tyro.conf.Positional[Path]
    """Folder for the finetuned SAE, its decoder and its metrics."""
    weight: float = 1.0
    """Of the KL divergence, scaled in every step to the value of the reconstruction error; 0 is the control."""
    codes: Literal["exact", "constant"] = "exact"
    """Whether the KL divergence's gradient goes through a pursuit's codes (least squares on their support), or not."""
    rate: float = 1.6e-3
    """Peak rate of Adam: a tenth of that of the training; decoder values move at sqrt(m / d) times it."""
    steps: int = 100
    """Optimiser steps. A token costs three runs of the model."""
    batch: int = 6
    """Contexts a step."""
    warm_up: float = 0.05
    """Share of the steps over which the rate rises; then it falls along a cosine."""
    seed: int = 0
    """Seed of the order of the contexts."""
    model: str | None = None
    """The language model; default: the one that the activations were harvested from."""
    checkpoint_every: int = 10
    """Steps between two checkpoints. Ctrl-C and SIGTERM save one more."""
    device: str = "cpu"
    """Torch device of the model and the SAE."""

    def run(self) -> None:
        from expander_theory.results import table
        from sae_bridge.activations import ActivationStore
        from sae_bridge.models import checked_device, load_language_model
        from sae_bridge.sae import load_sae
        from sae_bridge.suites import finetune_records, finetune_row
        from sae_bridge.training import Finetuning, finetune

        device = str(checked_device(self.device))
        how = Finetuning(self.weight, self.codes)
        store = ActivationStore(self.activations)
        before, _ = load_sae(self.sae)
        model = load_language_model(self.model or store.description["model"], device=device)
        (after,) = finetune(
            {self.out.name: how},
            self.sae,
            model,
            store,
            self.out.parent,
            steps=self.steps,
            learning_rate=self.rate,
            contexts=self.batch,
            warm_up=self.warm_up,
            seed=self.seed,
            checkpoint_every=self.checkpoint_every,
        ).values()
        records = finetune_records(
            ("before", before.to(device)),
            {self.out.name: after},
            {self.out.name: "after"},
            self.out.parent,
            model,
            store,
            step_contexts=self.batch,
        )
        print(table([finetune_row(record) for record in records]))
        print("\nCE differences in nats a token, paired over held-out contexts; cosines of columns to those before.")
