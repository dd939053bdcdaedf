"""What an SAE keeps of the activations: FVU, relative error, L0, dead and dense features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidFile, progress_bar, require
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation.intervals import Bootstrap, Interval, Resample
from sae_bridge.interop import decoded

CodeFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Activations (B, m) to codes: acts (B, K) and feature indices (B, K), zeros are padding."""

DENSE_SHARE = 0.1
"""A feature that fires on more than this share of tokens is dense."""


class Autoencoder(Protocol):
    """What is asked of an SAE here."""

    @property
    def m(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def weight(self) -> Tensor: ...
    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]: ...
    def decode(self, acts: Tensor, indices: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Reconstruction:
    """Fidelity to the activations at the held-out positions that count; intervals are 95 % bootstrap.

    Attributes:
        fvu: fraction of variance unexplained, sum ||h - h_hat||^2 / sum ||h - mean h||^2, the mean being that of these
            same positions: 0 for the identity, 1 for their mean; it may exceed 1.
        relative_error: mean of ||h - h_hat|| / ||h|| (positions with h = 0 left out).
        l0: mean number of nonzero code entries.
        dead: features that fire (have a nonzero code entry) on none of ``seen_tokens``.
        dense: features that fire on more than :data:`DENSE_SHARE` of ``tokens``.
        tokens: held-out positions in the means.
        seen_tokens: held-out and training positions that ``dead`` is judged on.
    """

    fvu: float
    fvu_interval: Interval | None
    relative_error: float
    relative_error_interval: Interval | None
    l0: float
    l0_interval: Interval | None
    dead: int
    dense: int
    tokens: int
    seen_tokens: int


@torch.no_grad()
def reconstruction(
    sae: Autoencoder,
    store: ActivationStore,
    *,
    codes: CodeFunction | None = None,
    resample: Resample | None = None,
    training_tokens: int | None = None,
    batch: int = 4096,
    progress: bool = True,
) -> Reconstruction:
    """Measure an SAE on stored activations.

    Args:
        codes: another way to code than ``sae.encode``, in the units of h.
        resample: what the intervals resample, see :class:`sae_bridge.evaluation.Bootstrap`.
        training_tokens: training positions that ``dead`` is judged on besides the held-out ones; None: all.
        batch: positions at a time (does not change the result beyond rounding).

    Raises:
        InvalidArgument: an SAE of another width than the store's, a NaN reconstruction, a number out of range.
        InvalidFile: held-out activations that do not vary.
    """
    require(sae.m == store.m, "sae", f"of width m = {sae.m}", f"must have the activations' width {store.m}")
    require(batch >= 1, "batch", batch, "must be at least 1")
    valid = training_tokens is None or training_tokens >= 0
    require(valid, "training_tokens", training_tokens, "must not be negative, or None for all")
    training = store.count("train") if training_tokens is None else min(training_tokens, store.count("train"))
    held_out = store.count("held_out")
    device, dtype = sae.weight.device, sae.weight.dtype
    encode = sae.encode if codes is None else codes
    mean = mean_activation(store, "held_out", batch).to(device)
    measured = _Sums(store.kept("held_out").numpy())
    fired, fired_ever = torch.zeros(2, sae.n, dtype=torch.int64)
    with progress_bar(total=held_out + training, unit="token", unit_scale=True, desc="FVU", show=progress) as bar:
        for part in store.batches("held_out", batch):
            h = part.to(device)
            own = h.to(dtype)
            acts, indices = encode(own)
            measured.add(h, decoded(sae, own, acts, indices), acts, mean)
            fired += _firings(acts, indices, sae.n)
            bar.update(len(h))
        fired_ever += fired
        left = training
        for part in store.batches("train", batch) if training else ():
            h = part[:left].to(device, dtype)
            fired_ever += _firings(*encode(h), sae.n)
            left -= len(h)
            bar.update(len(h))
            if left == 0:
                break
    sums = measured.sums
    require(bool(np.isfinite(sums["error"]).all()), "sae", "with NaN or infinite reconstructions", "is damaged")
    if not sums["variance"].sum() > 0:
        raise InvalidFile(store.folder, "has held-out activations that do not vary: FVU is undefined")
    bootstrap = Bootstrap(store.documents("held_out"), resample)
    fvu, fvu_interval = bootstrap.mean(sums["error"], sums["variance"])
    relative, relative_interval = bootstrap.mean(sums["relative"], sums["nonzero"])
    l0, l0_interval = bootstrap.mean(sums["active"], sums["count"])
    dead, dense = int((fired_ever == 0).sum()), int((fired > DENSE_SHARE * held_out).sum())
    return Reconstruction(
        *(fvu, fvu_interval, relative, relative_interval, l0, l0_interval),
        *(dead, dense, held_out, held_out + training),
    )


@torch.no_grad()
def mean_activation(store: ActivationStore, split: str, batch: int = 4096) -> Tensor:
    """Mean (m,), float64, of a split's activations at the positions that count."""
    total = torch.zeros(store.m, dtype=torch.float64)
    for part in store.batches(split, batch):
        total += part.sum(dim=0, dtype=torch.float64)
    return total / store.count(split)


class _Sums:
    """Sums by held-out context over the positions that count: ``sums[name]`` has shape (contexts,)."""

    def __init__(self, kept: NDArray[np.bool_]) -> None:
        self._context, self._filled = np.nonzero(kept)[0], 0
        self._contexts = len(kept)
        self.sums = defaultdict[str, NDArray[np.float64]](lambda: np.zeros(len(kept)))

    def add(self, h: Tensor, h_hat: Tensor, acts: Tensor, mean: Tensor) -> None:
        """The next rows of the store: activations, their reconstructions and codes."""
        context = self._context[self._filled : self._filled + len(h)]
        self._filled += len(h)
        exact = h.double()
        error, square = (exact - h_hat).square().sum(dim=1), exact.square().sum(dim=1)
        found = {
            "count": torch.ones_like(square),
            "error": error,
            "variance": (exact - mean).square().sum(dim=1),
            "nonzero": square > 0,
            "relative": torch.where(square > 0, (error / square).sqrt(), 0),
            "active": (acts != 0).sum(dim=1),
        }
        for name, values in found.items():
            self.sums[name] += np.bincount(context, values.cpu().numpy(), minlength=self._contexts)


def _firings(acts: Tensor, indices: Tensor, n: int) -> Tensor:
    """On how many tokens each feature fires, (n,) on the CPU."""
    return torch.bincount(indices[acts != 0], minlength=n).cpu()
