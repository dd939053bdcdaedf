"""The amortisation gap: what an SAE's encoder loses against slower inference on the same decoder, at the same k."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidFile, progress_bar, require, require_choice
from expander_theory.results import InferenceRow
from sae_bridge.activations import ActivationStore
from sae_bridge.codes import DEFAULT_METHODS, METHODS, Autoencoder, Coder
from sae_bridge.evaluation.intervals import Bootstrap, Resample
from sae_bridge.evaluation.losses import Losses, Positions
from sae_bridge.evaluation.model_fidelity import fidelity
from sae_bridge.evaluation.reconstruction import mean_activation
from sae_bridge.evaluation.sparsity import active_features
from sae_bridge.models import LanguageModel

_TOKENS = 4096  # coded at a time


def amortisation_gap(
    sae: Autoencoder,
    store: ActivationStore,
    model: LanguageModel | None = None,
    *,
    methods: Sequence[str] = DEFAULT_METHODS,
    in_model: Sequence[str] | None = None,
    positions: Positions = "kept",
    known: Losses | None = None,
    resample: Resample | None = None,
    progress: bool = True,
) -> list[InferenceRow]:
    """One row a method, all on the same held-out tokens with at most k features each.

    JSON-able; intervals (95 % bootstrap) are pairs, or None where there is one unit only. Every row has

    - ``method``; ``nonnegative``: whether its coefficients are >= 0; ``comparable``: whether its codes are of the
      encoder's class, so that the difference in error is the encoder's alone. Where they are not (free signs against an
      encoder with ReLU), the error says what k features can do at all;
    - ``fvu``: sum ||h - h_hat||^2 / sum ||h - mean h||^2; ``relative_error``: mean ||h - h_hat|| / ||h||;
    - ``l0``: mean number of nonzero coefficients; ``below_k``, ``above_k``: shares of tokens with fewer or more than k.
      An encoder has fewer where ReLU cuts, and BatchTopK's number varies: pursuits then use another number than it did;
      for JumpReLU and Gated their mean L0, rounded;
    - ``overlap``: mean |S_encoder cap S| / k; ``jaccard``: mean |S_encoder cap S| / |S_encoder cup S|;
    - ``seconds`` of coding, ``k``, ``tokens``, ``documents``;
    - with a model also what :func:`~sae_bridge.evaluation.model_fidelity.fidelity` says of the reconstructions in
      place, for the methods ``in_model``.

    Args:
        sae: any autoencoder in evaluation mode, ours or imported; decoder columns may have any norm.
        model: the language model that the activations came from; None leaves cross-entropies out.
        methods: names in :data:`sae_bridge.codes.METHODS`, in the order of the rows; "encoder" comes first in any case.
        in_model: those of the methods whose reconstructions are run through the model; None: all.
        positions, known: see :func:`sae_bridge.evaluation.measure_losses`.
        resample: what the intervals resample, see :class:`sae_bridge.evaluation.Bootstrap`.
        progress: show progress bars on standard error.

    Raises:
        InvalidArgument: an SAE of another width, a method that is not known or, in ``in_model``, not measured.
        InvalidFile: held-out activations that do not vary, or a store that was harvested from another model.
    """
    require(sae.m == store.m, "sae", f"of width m = {sae.m}", f"must have the activations' width {store.m}")
    for name in methods:
        require_choice("methods", name, tuple(METHODS))
    names = list(dict.fromkeys(("encoder", *methods)))
    for name in in_model or ():
        require_choice("in_model", name, tuple(names))
    k = active_features(sae, store)
    coder = Coder(sae, k=k)
    measured = _measure(coder, store, names, progress)
    bootstrap = Bootstrap(store.documents("held_out"), resample)
    free_signs = bool(measured["encoder"].sums["negative"].any())
    rows = [measured[name].row(name, k, bootstrap, free_signs) for name in names]
    common: dict[str, Any] = {
        "k": k,
        "tokens": store.count("held_out"),
        "documents": len(np.unique(store.documents("held_out"))),
    }
    if model is None:
        return [InferenceRow(**row, **common) for row in rows]
    changes = {name: coder.reconstruction(name) for name in (names if in_model is None else in_model)}
    found = fidelity(changes, model, store, positions=positions, known=known, resample=resample, progress=progress)
    in_place = {name: asdict(losses) for name, losses in found.items()}
    return [InferenceRow(**{**row, **in_place.get(row["method"], {}), **common}) for row in rows]


class _Sums:
    """Sums by held-out context of one method, in ``sums``, each (contexts,); seconds of coding."""

    def __init__(self, contexts: int) -> None:
        self.sums = defaultdict[str, NDArray[np.float64]](lambda: np.zeros(contexts))
        self.seconds = 0.0

    def add(self, context: NDArray[np.intp], values: dict[str, Tensor]) -> None:
        """Numbers (B,) of tokens, and the context that each is from."""
        for name, value in values.items():
            sums = self.sums[name]
            sums += np.bincount(context, value.double().cpu().numpy(), minlength=len(sums))

    def row(self, name: str, k: int, bootstrap: Bootstrap, free_signs: bool) -> dict[str, Any]:
        """What is reported; ``free_signs`` says whether the encoder has them."""
        sums, about = self.sums, METHODS[name].nonnegative
        nonnegative = not free_signs if about is None else about
        row: dict[str, Any] = {"method": name, "nonnegative": nonnegative, "comparable": nonnegative or free_signs}
        for key, top, bottom in (
            ("fvu", "error", "variance"),
            ("relative_error", "relative", "nonzero"),
            ("l0", "active", "count"),
            ("overlap", "overlap", "count"),
            ("jaccard", "jaccard", "count"),
        ):
            row[key], row[f"{key}_interval"] = bootstrap.mean(sums[top], sums[bottom])
        tokens = sums["count"].sum()
        shares = {f"{side}_k": float(sums[side].sum() / tokens) for side in ("below", "above")}
        return row | shares | {"seconds": self.seconds}


@torch.no_grad()
def _measure(coder: Coder, store: ActivationStore, names: list[str], progress: bool) -> dict[str, _Sums]:
    sae, filled = coder.sae, 0
    kept = store.kept("held_out").numpy()
    contexts = np.nonzero(kept)[0]
    mean = mean_activation(store, "held_out")
    found = {name: _Sums(len(kept)) for name in names}
    total = len(contexts) * len(names)
    with progress_bar(total=total, unit="token", unit_scale=True, desc="codes", show=progress) as bar:
        for h in store.batches("held_out", _TOKENS):
            context = contexts[filled : filled + len(h)]
            filled += len(h)
            own: tuple[Tensor, Tensor] | None = None
            for name in names:
                started = time.perf_counter()
                acts, indices = coder(h, name)
                if acts.is_cuda:
                    torch.cuda.synchronize(acts.device)
                found[name].seconds += time.perf_counter() - started
                own = (acts, indices) if own is None else own
                found[name].add(context, _errors(h, sae.decode(acts, indices).cpu(), mean))
                found[name].add(context, _counts(acts, indices, *own, coder.k))
                bar.update(len(h))
    variance = found["encoder"].sums["variance"].sum()
    if not variance > 0:
        raise InvalidFile(store.folder, "has held-out activations that do not vary: FVU is undefined")
    return found


def _errors(h: Tensor, h_hat: Tensor, mean: Tensor) -> dict[str, Tensor]:
    exact = h.double()
    error, square = (exact - h_hat).square().sum(dim=1), exact.square().sum(dim=1)
    return {
        "error": error,
        "variance": (exact - mean).square().sum(dim=1),
        "nonzero": square > 0,
        "relative": torch.where(square > 0, (error / square).sqrt(), 0),
    }


def _counts(acts: Tensor, indices: Tensor, own_acts: Tensor, own_indices: Tensor, k: int) -> dict[str, Tensor]:
    active = (acts != 0).sum(dim=1)
    shared = common_features(acts, indices, own_acts, own_indices)
    union = active + (own_acts != 0).sum(dim=1) - shared
    return {
        "count": torch.ones_like(active),
        "active": active,
        "below": active < k,
        "above": active > k,
        "negative": (acts < 0).any(dim=1),
        "overlap": shared / k,
        "jaccard": torch.where(union > 0, shared / union.clamp_min(1), 1.0),
    }


def common_features(acts: Tensor, indices: Tensor, other_acts: Tensor, other_indices: Tensor) -> Tensor:
    """Number of features active in both codes of each token, (B,); indices of nonzero acts do not repeat."""
    first = torch.where(acts != 0, indices, -1)
    second = torch.where(other_acts != 0, other_indices, -2)
    return (first[:, :, None] == second[:, None, :]).sum(dim=(1, 2))
