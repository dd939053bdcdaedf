"""A short finetune of a trained SAE on the KL divergence of a language model's output, end to end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from expander_theory.base import InvalidFile, require
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import require_trained_on
from sae_bridge.models import LanguageModel
from sae_bridge.sae import CONFIGURATION, Encoder, SparseAutoencoder, load_sae
from sae_bridge.training._contexts import ContextStream
from sae_bridge.training.finetuning import Finetuning
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import train

_ABOUT = ("model", "model_fingerprint", "layer", "hook", "context")


def finetune(
    runs: Mapping[str, Finetuning],
    start: str | os.PathLike[str],
    model: LanguageModel,
    store: ActivationStore,
    folder: str | os.PathLike[str],
    *,
    steps: int,
    learning_rate: float,
    contexts: int = 6,
    warm_up: float = 0.05,
    seed: int = 0,
    checkpoint_every: int = 10,
    progress: bool = True,
) -> dict[str, SparseAutoencoder]:
    """Go on from a trained SAE with the KL divergence of the model's output in the loss, for every run on the same
    batches.

    The model is frozen: its blocks above the hook point hand gradients down and stay as they are. Decoder values (on
    their supports, which stay), biases and an encoder's values are trained; codes of a pursuit are found anew in every
    step. Folders, metrics, checkpoints and Ctrl-C are those of :func:`sae_bridge.training.train`, and ``cfg.json`` says
    under ``training`` how the SAE was ``finetuned`` and the hash of what it started from.

    Args:
        runs: by name of their folder in ``folder`` ("." for ``folder`` itself).
        start: folder of the SAE to start from.
        model, store: the language model and activations that it was trained on.
        folder: for the results.
        steps: optimiser steps; Adam starts with new moments.
        learning_rate: peak rate; decoder values move at sqrt(m / d) times it, as in training.
        contexts: whole contexts a step.
        warm_up: share of the steps over which the rate rises; then it falls along a cosine.
        seed: of the order of the contexts.
        checkpoint_every: steps between two checkpoints.

    Returns:
        The SAEs, by name, ready for evaluation.

    Raises:
        InvalidArgument: no run, a size out of range, constant codes for an encoder that is no pursuit.
        InvalidFile: no SAE, one that was finetuned before, is of low rank or on an irregular mask, or trained on other
            activations; a store of another model; a folder of another run.
        Diverged: as :func:`sae_bridge.training.train`.
    """
    require(len(runs) > 0, "runs", len(runs), "must name at least one finetune")
    base = _recipe(Path(start), store)
    how: dict[str, Any] = {"steps": steps, "learning_rate": learning_rate, "warm_up": warm_up, "seed": seed}
    recipes = {name: replace(base, finetuned=finetuned, **how) for name, finetuned in runs.items()}
    stream = ContextStream(model, store, contexts, seed)
    about = {key: store.description[key] for key in _ABOUT}
    return train(
        recipes,
        stream,
        folder,
        device=model.device,
        about={**about, "language_model": about["model"]},
        log_every=1,
        checkpoint_every=checkpoint_every,
        progress=progress,
        divergence=stream.divergence,
    )


def _recipe(start: Path, store: ActivationStore) -> Training:
    """What goes on from ``start``, without the finetune's own choices."""
    sae, fields = load_sae(start)
    if "finetuned" in fields:
        raise InvalidFile(start / CONFIGURATION, "was finetuned already; start from the SAE that it started from")
    for name in ("rank", "mean_degree"):
        if fields.get(name) is not None:
            raise InvalidFile(start / CONFIGURATION, f"has {name} = {fields[name]}, which a finetune would not keep")
    require_trained_on(store, fields, start)
    encoder: Encoder = "warm" if sae.encoding == "untied" else sae.encoding
    return Training(
        start=start,
        d=None if sae.mask is None else sae.weight.shape[1],
        n=sae.n,
        k=sae.k,
        encoder=encoder,
        activation=sae.activation,
        selection=sae.selection,
        pursuit_steps=sae.pursuit_steps,
        dense_columns=0 if sae.dense is None else len(sae.dense),
        revival="none",
    )
