"""What an SAE keeps of the activations (FVU, L0, dead features) and of the model (cross-entropy).

Everything is measured on held-out documents. The first token of each context, and tokens of
outlying norm, keep their original activation in every run and enter no mean; this moves
"recovered" by several points against ablating every position, so it is stated with the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from expander_theory.errors import InvalidFile, require
from expander_theory.progress import progress_bar
from sae_bridge.activations import ActivationStore, fingerprint
from sae_bridge.language_models import LanguageModel
from sae_bridge.sae import SparseAutoencoder

_RESAMPLES = 1000


@dataclass(frozen=True)
class Reconstruction:
    """Fidelity to the activations.

    Attributes:
        fvu: fraction of variance unexplained, sum ||h - h_hat||^2 / sum ||h - mean h||^2, held out.
        l0: mean number of nonzero code entries per held-out token.
        dead: features that fire on no token of the store (training and held out).
        tokens: held-out tokens in the means.
        seen_tokens: tokens that ``dead`` is judged on.
    """

    fvu: float
    l0: float
    dead: int
    tokens: int
    seen_tokens: int


@dataclass(frozen=True)
class Losses:
    """Mean cross-entropy (nats per token) per held-out context, shape (contexts,).

    Predictions from the first token are left out: no run changes them.
    """

    clean: np.ndarray
    zero: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True)
class Fidelity:
    """Fidelity to the model, in nats per token; intervals are 95 % bootstrap over contexts.

    Attributes:
        ce: with the reconstruction in place.
        delta: ce - ce_clean.
        recovered_zero: (ce_zero - ce) / (ce_zero - ce_clean), and its interval.
        recovered_mean: the same against mean ablation.
    """

    ce: float
    ce_clean: float
    ce_zero: float
    ce_mean: float
    delta: float
    recovered_zero: float
    recovered_zero_interval: tuple[float, float]
    recovered_mean: float
    recovered_mean_interval: tuple[float, float]


@torch.no_grad()
def reconstruction(sae: SparseAutoencoder, store: ActivationStore, *, batch: int = 4096) -> Reconstruction:
    """FVU, L0 and dead features of an SAE.

    Raises:
        InvalidArgument: an SAE of another width than the store's.
    """
    require(sae.m == store.m, "sae", f"of width m = {sae.m}", f"must have the activations' width {store.m}")
    fired = torch.zeros(sae.n, dtype=torch.bool, device=sae.device)
    seen, error, active = 0, 0.0, 0
    held_out = store.rows("held_out")
    for split, rows in (("train", store.rows("train")), ("held_out", held_out)):
        for part in rows.split(batch):
            h = part.to(sae.device)
            acts, indices = sae.encode(h)
            fired[indices[acts > 0]] = True
            seen += len(h)
            if split == "held_out":
                error += float((sae.decode(acts, indices) - h).square().sum(dtype=torch.float64))
                active += int((acts > 0).sum())
    variance = float((held_out - held_out.mean(dim=0)).square().sum(dtype=torch.float64))
    count = len(held_out)
    return Reconstruction(error / variance, active / count, int((~fired).sum()), count, seen)


def baseline_losses(model: LanguageModel, store: ActivationStore, *, progress: bool = True) -> Losses:
    """Clean, zero-ablated and mean-ablated losses; the mean is that of the training activations.

    Raises:
        InvalidFile: the store was harvested from another model.
    """
    mean = store.rows("train").mean(dim=0).to(model.device)
    return Losses(
        clean=context_losses(model, store, lambda h: h, "clean", progress),
        zero=context_losses(model, store, torch.zeros_like, "zero ablation", progress),
        mean=context_losses(model, store, lambda h: mean.expand_as(h), "mean ablation", progress),
    )


def fidelity(
    sae: SparseAutoencoder, model: LanguageModel, store: ActivationStore, baselines: Losses, *, progress: bool = True
) -> Fidelity:
    """Run the model end to end with the reconstruction in place.

    Raises:
        InvalidFile: the store was harvested from another model.
    """

    def reconstruct(h: Tensor) -> Tensor:
        return sae(h.to(sae.device, torch.float32))[0].to(h.device)

    losses = context_losses(model, store, reconstruct, "with SAE", progress)
    clean = baselines.clean
    recovered = {name: _recovered(getattr(baselines, name), losses, clean) for name in ("zero", "mean")}
    return Fidelity(
        ce=float(losses.mean()),
        ce_clean=float(clean.mean()),
        ce_zero=float(baselines.zero.mean()),
        ce_mean=float(baselines.mean.mean()),
        delta=float((losses - clean).mean()),
        recovered_zero=recovered["zero"][0],
        recovered_zero_interval=recovered["zero"][1],
        recovered_mean=recovered["mean"][0],
        recovered_mean_interval=recovered["mean"][1],
    )


@torch.no_grad()
def context_losses(
    model: LanguageModel,
    store: ActivationStore,
    change: Callable[[Tensor], Tensor],
    label: str,
    progress: bool = True,
    *,
    batch: int = 8,
) -> np.ndarray:
    """Mean loss of each held-out context with ``change`` applied to the (N, m) activations that count."""
    about = store.description
    if fingerprint(model) != about["model_fingerprint"]:
        raise InvalidFile(store.folder, f"was harvested from another model ({about['model']}, not {model.name})")
    limit = store.norm_limit

    def replace(hidden: Tensor) -> Tensor:
        counted = hidden.norm(dim=-1) <= limit
        counted[:, 0] = False
        out = hidden.clone()
        out[counted] = change(hidden[counted]).to(hidden.dtype)
        return out

    found = []
    batches = store.tokens("held_out").split(batch)
    for tokens in progress_bar(batches, desc=f"cross-entropy, {label}", unit="batch", show=progress):
        ids = tokens.to(model.device)
        with model.intervene(about["layer"], about["hook"], replace):
            logits = model.model(input_ids=ids, use_cache=False).logits[:, 1:-1]
        loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 2:].flatten(), reduction="none")
        found.append(loss.view(len(ids), -1).mean(dim=1).double().cpu())
    return torch.cat(found).numpy()


def _recovered(ablated: np.ndarray, losses: np.ndarray, clean: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Ratio of means over contexts, and its percentile bootstrap interval."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(clean), (_RESAMPLES, len(clean)))
    top = (ablated - losses)[drawn].mean(axis=1)
    bottom = (ablated - clean)[drawn].mean(axis=1)
    low, high = np.quantile(top / bottom, [0.025, 0.975])
    return float((ablated - losses).mean() / (ablated - clean).mean()), (float(low), float(high))


BASELINE = (
    "Nats per token on held-out documents. Ablation and reconstruction act on every position but the first of each "
    "context and tokens of outlying norm; predictions from the first token are left out. "
    "Intervals: 95 % bootstrap over contexts."
)


def evaluation_row(
    name: str,
    sae: SparseAutoencoder,
    model: LanguageModel,
    store: ActivationStore,
    baselines: Losses,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Everything measured of one SAE, as one JSON-able record."""
    return {
        "name": name,
        "architecture": "expander" if sae.rows is not None else "dense",
        "m": sae.m,
        "n": sae.n,
        "d": sae.weight.shape[1],
        "k": sae.k,
        "decoder_values": sae.decoder_values,
        **asdict(reconstruction(sae, store)),
        **asdict(fidelity(sae, model, store, baselines, progress=progress)),
    }


def short_row(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of an evaluation record that fit a table."""

    def with_interval(name: str) -> str:
        low, high = row[f"{name}_interval"]
        return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"

    return {
        "SAE": row["name"],
        "d": row["d"],
        "decoder values": row["decoder_values"],
        "FVU": row["fvu"],
        "L0": row["l0"],
        "dead": f"{row['dead']}/{row['n']}",
        "CE clean": row["ce_clean"],
        "CE zero": row["ce_zero"],
        "CE mean": row["ce_mean"],
        "CE SAE": row["ce"],
        "delta CE": row["delta"],
        "recovered (zero)": with_interval("recovered_zero"),
        "recovered (mean)": with_interval("recovered_mean"),
    }
