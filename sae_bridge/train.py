"""Train one SAE on a store of activations. A seed decides everything; a run resumes exactly."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expander_theory.errors import InvalidFile, require
from expander_theory.files import read_arrays, write_arrays
from expander_theory.ledger import Ledger
from expander_theory.masks import Mask, load_mask, uniform_mask
from expander_theory.progress import progress_bar
from expander_theory.seeds import derived_seed, require_seed
from sae_bridge.activations import ActivationStore
from sae_bridge.sae import ExpanderSAE, SparseAutoencoder, TopKSAE, load_sae

CHECKPOINT, VERSION = "expander-sae-checkpoint", 1
_LOG_EVERY = 25
_CHECKPOINT_EVERY = 250


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        d: nonzeros per decoder column; None for the dense reference.
        n: features.
        k: active features per token.
        mask: a saved mask to use instead of a uniform random one (then d and n are the mask's).
        steps: optimiser steps.
        batch: tokens per step.
        learning_rate: peak rate of Adam for the biases; decoder values move at sqrt(m / d) times that. A
            unit column on d rows has entries of size 1/sqrt(d) and Adam moves each by about the rate, so
            the relative step of a column is the same for all d; dense is d = m.
        seed: of the mask, the initial weights and the order of the batches.
    """

    d: int | None = 8
    n: int = 4608
    k: int = 32
    mask: Path | None = None
    steps: int = 500
    batch: int = 1024
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n", "k", "steps", "batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(0 < self.learning_rate < 1, "learning_rate", self.learning_rate, "must be in (0, 1)")
        require_seed(self.seed)

    def build(self, m: int) -> SparseAutoencoder:
        """The untrained SAE for activations of width m."""
        if self.mask is not None:
            mask = load_mask(self.mask)
            require(mask.m == m, "mask", self.mask, f"has m = {mask.m} rows, the activations have {m}")
        elif self.d is not None:
            mask = uniform_mask(m, self.n, self.d, seed=self.seed)
        else:
            return TopKSAE(m, self.n, self.k, seed=self.seed)
        return ExpanderSAE(mask, self.k, seed=self.seed)

    def rate_at(self, step: int) -> float:
        """Share of the peak rate: linear warm-up over 5 % of the steps, then cosine to 1 %."""
        warm_up = max(1, self.steps // 20)
        if step < warm_up:
            return (step + 1) / warm_up
        progress = (step - warm_up) / max(1, self.steps - warm_up)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    store: ActivationStore,
    how: Training,
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> SparseAutoencoder:
    """Minimise ||h - h_hat||^2 over the store's training activations.

    Writes ``sae.safetensors``, the decoder as ``dictionary.safetensors`` and ``metrics.jsonl`` into
    ``folder``, and a checkpoint on the way, from which an interrupted run goes on to the same
    result. A finished folder is only read.

    Args:
        device: torch device. Runs on one device repeat to the bit on the CPU; CUDA sums in no fixed order.

    Raises:
        InvalidFile: the folder belongs to another run.
        InvalidArgument: d > m, or a mask of another width.
        OSError: full or read-only disk; the last checkpoint stays.
    """
    folder = Path(folder)
    sae = how.build(store.m)
    mask = sae.mask if isinstance(sae, ExpanderSAE) else None
    identity = _identity(store, how, mask, torch.device(device))
    finished = folder / "sae.safetensors"
    if not (folder / "metrics.jsonl").exists() and folder.exists() and any(folder.iterdir()):
        raise InvalidFile(folder, "is not empty and holds no training run; choose another folder")
    with Ledger(folder / "metrics.jsonl", identity) as metrics:
        if finished.is_file():
            stored, fields = load_sae(finished)
            if fields != metrics.identity:
                raise InvalidFile(finished, "is the SAE of another run; choose another folder")
            return stored
        data = store.rows("train")
        mean, mean_square = data.mean(dim=0), float(torch.linalg.vector_norm(data, dim=1).square().mean())
        sae.fit_normalisation(mean, mean_square)
        variance = mean_square - float(mean.square().sum())
        sae.to(device)
        optimiser = _optimiser(sae, how)
        checkpoint = folder / "checkpoint.safetensors"
        first = _restore(checkpoint, sae, optimiser) if checkpoint.is_file() else 0
        logged = max((record["step"] for record in metrics.records), default=-1)
        label = f"train d={'dense' if mask is None else mask.d}"
        steps = range(first, how.steps)
        for step in progress_bar(steps, initial=first, total=how.steps, unit="step", desc=label, show=progress):
            h = data[_batch_rows(len(data), how, step)].to(device)
            loss = _step(sae, optimiser, how, h, step)
            if (step % _LOG_EVERY == 0 or step == how.steps - 1) and step > logged:
                metrics.append({"step": step, "fvu": loss / variance})
            if (step + 1) % _CHECKPOINT_EVERY == 0:
                _save_checkpoint(checkpoint, sae, optimiser, step + 1)
        sae.dictionary().save(folder / "dictionary.safetensors")
        sae.save(finished, identity)
        checkpoint.unlink(missing_ok=True)
    return sae


def _optimiser(sae: SparseAutoencoder, how: Training) -> torch.optim.Adam:
    """Adam with the rate of the biases, and sqrt(m / d) times that for the decoder values."""
    values = how.learning_rate * math.sqrt(sae.m / sae.weight.shape[1])
    return torch.optim.Adam(
        [
            {"params": [sae.weight], "lr": values, "peak": values},
            {"params": [sae.b_enc, sae.b_dec], "lr": how.learning_rate, "peak": how.learning_rate},
        ]
    )


def _step(sae: SparseAutoencoder, optimiser: torch.optim.Adam, how: Training, h: Tensor, step: int) -> float:
    """One optimiser step on activations h; returns the mean squared error in the units of h."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * how.rate_at(step)
    reconstruction, _, _ = sae(h)
    error = (reconstruction - h).square().sum(dim=1).mean()
    loss = error * sae.scale**2 / sae.m
    optimiser.zero_grad()
    loss.backward()
    sae.project_gradient()
    optimiser.step()
    sae.normalise_columns()
    return float(error.detach())


def _batch_rows(count: int, how: Training, step: int) -> Tensor:
    """Rows of batch ``step``: consecutive pieces of one permutation per pass over the data.

    A function of (count, batch, seed, step) alone, so every architecture sees the same batches in
    the same order, and a resumed run goes on where it stopped.
    """
    batch = min(how.batch, count)
    epoch, place = divmod(step, count // batch)
    return _order(count, how.seed, epoch)[place * batch : (place + 1) * batch]


@lru_cache(maxsize=1)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(derived_seed(seed, f"order of pass {epoch}"))
    return torch.randperm(count, generator=generator)


def _identity(store: ActivationStore, how: Training, mask: Mask | None, device: torch.device) -> dict[str, Any]:
    content = {key: value for key, value in asdict(how).items() if key != "mask"}
    shape = {"d": None} if mask is None else {"d": mask.d, "n": mask.n, "mask_sha256": mask.sha256}
    return {"kind": "sae training", **content, **shape, "device": device.type, "activations_sha256": store.sha256}


def _save_checkpoint(path: Path, sae: SparseAutoencoder, optimiser: torch.optim.Adam, step: int) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, parameter in sae.named_parameters():
        state = optimiser.state[parameter]
        arrays[name] = parameter.detach().cpu().numpy()
        arrays[f"{name}.exp_avg"] = state["exp_avg"].cpu().numpy()
        arrays[f"{name}.exp_avg_sq"] = state["exp_avg_sq"].cpu().numpy()
    write_arrays(path, CHECKPOINT, VERSION, {"step": step}, arrays)


def _restore(path: Path, sae: SparseAutoencoder, optimiser: torch.optim.Adam) -> int:
    fields, arrays = read_arrays(path, CHECKPOINT, VERSION)
    if set(arrays) != {f"{n}{s}" for n, _ in sae.named_parameters() for s in ("", ".exp_avg", ".exp_avg_sq")}:
        raise InvalidFile(path, "does not fit this run; delete it to start again")
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            parameter.copy_(torch.from_numpy(arrays[name]))
            optimiser.state[parameter] = {
                "step": torch.tensor(float(fields["step"])),
                "exp_avg": torch.from_numpy(arrays[f"{name}.exp_avg"]).to(parameter.device),
                "exp_avg_sq": torch.from_numpy(arrays[f"{name}.exp_avg_sq"]).to(parameter.device),
            }
    return fields["step"]
