"""What an SAE keeps of the activations (FVU, L0, dead features) and of the model (cross-entropy).

Everything is measured on held-out documents. The first token of each context, and tokens of
outlying norm, keep their original activation in every run; this moves "recovered" by several
points against ablating every position, so it is stated with the result. They enter no mean over
activations, and the first token's prediction, which no run changes, enters no mean loss.
Intervals resample whole documents: contexts of one document are not independent.
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
from sae_bridge.activations import ActivationStore
from sae_bridge.language_models import LanguageModel
from sae_bridge.sae import SparseAutoencoder

_RESAMPLES = 2000
_TAILS = (0.025, 0.975)


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
    """Mean cross-entropy (nats per token) per held-out context, shape (contexts,), by kind of run."""

    clean: np.ndarray
    zero: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True)
class Fidelity:
    """Fidelity to the model, in nats per token; intervals are 95 % bootstrap over documents.

    Attributes:
        ce: with the reconstruction in place.
        ce_clean, ce_zero, ce_mean: without any change, and with zero and mean ablation.
        delta: ce - ce_clean.
        recovered_zero: (ce_zero - ce) / (ce_zero - ce_clean); None, with its interval, where ablation does
            not clearly raise the loss (the interval of the denominator reaches zero).
        recovered_mean: the same against mean ablation.
        documents: held-out documents that the intervals resample.
    """

    ce: float
    ce_clean: float
    ce_zero: float
    ce_mean: float
    delta: float
    delta_interval: tuple[float, float]
    recovered_zero: float | None
    recovered_zero_interval: tuple[float, float] | None
    recovered_mean: float | None
    recovered_mean_interval: tuple[float, float] | None
    documents: int


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


def require_trained_on(store: ActivationStore, training: dict[str, Any], path: object) -> None:
    """Raise :class:`InvalidFile` unless an SAE's training fields name the activations of ``store``.

    Its training documents might be held-out ones elsewhere.
    """
    if training.get("activations_sha256") != store.sha256:
        raise InvalidFile(
            path, f"was trained on other activations than {store.folder} (--other-activations accepts it)"
        )


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
    bootstrap = _Bootstrap(store.documents("held_out"))
    zero, zero_interval = bootstrap.ratio(baselines.zero - losses, baselines.zero - clean)
    mean, mean_interval = bootstrap.ratio(baselines.mean - losses, baselines.mean - clean)
    return Fidelity(
        ce=float(losses.mean()),
        ce_clean=float(clean.mean()),
        ce_zero=float(baselines.zero.mean()),
        ce_mean=float(baselines.mean.mean()),
        delta=float((losses - clean).mean()),
        delta_interval=bootstrap.interval(losses - clean),
        recovered_zero=zero,
        recovered_zero_interval=zero_interval,
        recovered_mean=mean,
        recovered_mean_interval=mean_interval,
        documents=bootstrap.documents,
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
    if model.fingerprint != about["model_fingerprint"]:
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


class _Bootstrap:
    """Percentile intervals of means over contexts, resampling the documents that they came from."""

    def __init__(self, documents: np.ndarray) -> None:
        numbers, self._document = np.unique(documents, return_inverse=True)
        self.documents = len(numbers)
        drawn = np.random.default_rng(0).integers(0, self.documents, (_RESAMPLES, self.documents))
        self._weights = np.stack([np.bincount(draw, minlength=self.documents) for draw in drawn])

    def _means(self, values: np.ndarray) -> np.ndarray:
        """The mean of per-context values in each resample."""
        sums = np.bincount(self._document, values, minlength=self.documents)
        counts = np.bincount(self._document, minlength=self.documents)
        return (self._weights @ sums) / (self._weights @ counts)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        low, high = np.quantile(self._means(values), _TAILS)
        return float(low), float(high)

    def ratio(self, top: np.ndarray, bottom: np.ndarray) -> tuple[float | None, tuple[float, float] | None]:
        """mean(top) / mean(bottom) and its interval, or None where the denominator may be zero."""
        if self.interval(bottom)[0] <= 0:
            return None, None
        low, high = np.quantile(self._means(top) / self._means(bottom), _TAILS)
        return float(top.mean() / bottom.mean()), (float(low), float(high))


BASELINE = (
    "Nats per token on held-out documents. Ablation and reconstruction act on every position but the first of each "
    "context and tokens of outlying norm; predictions from the first token are left out. "
    "Brackets: 95 % bootstrap over documents."
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
