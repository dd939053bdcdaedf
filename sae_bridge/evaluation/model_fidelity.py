"""A language model run end to end with replaced activations: cross-entropy and KL, for many replacements at once.

For each batch of held-out contexts the model runs once to the hook point, and the blocks above it once without a
change, once for each ablation, and once for each replacement. At the hooks of the MLP and the attention the blocks
below run each time too: the residual stream goes past these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import InvalidArgument, InvalidFile, progress_bar, require, require_choice
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation.intervals import Resample
from sae_bridge.evaluation.losses import BASELINES, Fidelity, Losses, Positions
from sae_bridge.evaluation.reconstruction import mean_activation
from sae_bridge.models import LanguageModel

Change = Callable[[Tensor], Tensor]
"""Activations (N, m), float32, on the model's device, to what takes their place, (N, m)."""

_LOGIT_BYTES = 2**30
"""For the clean log-probabilities and the logits of one run of a batch."""
_MOST_CONTEXTS = 64
_PIECE_BYTES = 2**25
"""Logits that are turned to float32 probabilities at a time."""


def fidelity(
    replacements: Mapping[str, Change],
    model: LanguageModel,
    store: ActivationStore,
    *,
    positions: Positions = "kept",
    baseline: Positions = "kept",
    resample: Resample | None = None,
    known: Losses | None = None,
    progress: bool = True,
) -> dict[str, Fidelity]:
    """:func:`measure_losses`, and what they say of each replacement.

    Args:
        resample: what the intervals resample, see :class:`sae_bridge.evaluation.Bootstrap`.

    Raises:
        InvalidArgument, InvalidFile: as :func:`measure_losses`; an unknown unit.
    """
    how: dict[str, Any] = {"positions": positions, "baseline": baseline, "known": known, "progress": progress}
    losses = measure_losses(replacements, model, store, **how)
    return {name: losses.fidelity(name, resample) for name in replacements}


@torch.no_grad()
def measure_losses(
    replacements: Mapping[str, Change],
    model: LanguageModel,
    store: ActivationStore,
    *,
    positions: Positions = "kept",
    baseline: Positions = "kept",
    known: Losses | None = None,
    contexts_per_batch: int | None = None,
    progress: bool = True,
) -> Losses:
    """Cross-entropy and KL of each held-out context: clean, zero-ablated, mean-ablated, and with each replacement.

    Which predictions enter: those made at (from) the positions where replacements act; cross-entropy where the context
    has a next token, KL at its last position too. So a first token that keeps its activation, and whose prediction no
    run can change, enters no mean; what is predicted may be any token. The mean of mean ablation is that of the
    training positions that count.

    Conventions of others: sae-lens has "kept" positions (by its ``ignore_tokens``) and the baseline "all"; a recipe
    that replaces and ablates everything is positions "all".

    Args:
        replacements: by name; names other than those of the baselines.
        positions: where replacements act: "kept", the positions that count, or "all". Others keep their activation.
        baseline: where ablations act: "kept", the positions that count, or "all"; with positions "all" it is "all".
        known: earlier losses of the same store, model, positions and baseline: their ablations are not run again.
        contexts_per_batch: by default as many as keep logits within 1 GiB (changes nothing beyond rounding).
        progress: show a progress bar.

    Raises:
        InvalidArgument: a reserved name, an unknown choice, ``known`` of something else, or a replacement that gives
            another shape, NaN or infinity.
        InvalidFile: the store was harvested from another model.
    """
    require_choice("positions", positions, get_args(Positions))
    require_choice("baseline", baseline, get_args(Positions))
    taken = sorted(set(replacements) & set(BASELINES))
    require(not taken, "replacements", taken, f"must not be named as the baselines {BASELINES}")
    require_harvested_from(store, model, "held_out")
    about = store.description
    tokens, kept = store.tokens("held_out"), store.kept("held_out")
    at = torch.ones_like(kept) if positions == "all" else kept
    ablated = torch.ones_like(kept) if baseline == "all" else at
    require(bool(at[:, :-1].any()), "positions", repr(positions), "leaves no prediction of a next token")
    identity: dict[str, Any] = {
        "store_sha256": store.sha256,
        "model_fingerprint": model.fingerprint,
        "positions": positions,
        "baseline": "all" if positions == "all" else baseline,
    }
    runs = {name: _Run(change, at) for name, change in replacements.items()}
    if known is None:
        mean = mean_activation(store, "train").float().to(model.device)
        runs = {"zero": _Run(torch.zeros_like, ablated), "mean": _Run(lambda h: mean.expand_as(h), ablated), **runs}
    else:
        _require_same(known, identity)
    size = contexts_per_batch or _contexts_per_batch(model.vocabulary, tokens.shape[1])
    ce: dict[str, list[Tensor]] = {"clean": [], **{name: [] for name in runs}}
    kl: dict[str, list[Tensor]] = {"clean": [], **{name: [] for name in runs}}
    with progress_bar(total=len(tokens) * len(ce), unit="run", desc="CE and KL by context", show=progress) as bar:
        for first in range(0, len(tokens), size):
            part = slice(first, first + size)
            ids = tokens[part].to(model.device)
            hidden = model.activations(ids, about["layer"], about["hook"])
            judge = _Judge(ids, at[part].to(model.device))
            for name in ce:
                changed = hidden if name == "clean" else runs[name].apply(name, hidden, part)
                found = judge(model.logits_from(ids, about["layer"], about["hook"], changed))
                ce[name].append(found[0])
                kl[name].append(found[1])
                bar.update(len(ids))
    old_ce, old_kl = ({}, {}) if known is None else (known.baselines().ce, known.baselines().kl)
    return Losses(
        **identity,
        documents=np.asarray(store.documents("held_out"), np.int64),
        predictions=at[:, :-1].sum(dim=1).numpy(),
        distributions=at.sum(dim=1).numpy(),
        ce={**old_ce, **{name: torch.cat(parts).numpy() for name, parts in ce.items()}},
        kl={**old_kl, **{name: torch.cat(parts).numpy() for name, parts in kl.items()}},
    )


def require_harvested_from(store: ActivationStore, model: LanguageModel, split: str) -> None:
    """Raise unless the activations of a split are this model's, and what is put in their place reaches its logits.

    Raises:
        InvalidFile: a store of another model.
        InvalidArgument: a hook point that the logits do not depend on.
    """
    about = store.description
    if model.fingerprint != about["model_fingerprint"]:
        raise InvalidFile(store.folder, f"was harvested from another model ({about['model']}, not {model.name})")
    model.require_steerable(about["layer"], about["hook"])
    if int(store.tokens(split).max()) >= model.vocabulary:
        raise InvalidFile(store.folder, f"holds token ids beyond the model's vocabulary of {model.vocabulary}")


@dataclass(frozen=True)
class _Run:
    """A change of the activations at some positions, bool (contexts, context)."""

    change: Change
    at: Tensor

    def apply(self, name: str, hidden: Tensor, part: slice) -> Tensor:
        """The activations (batch, context, m) with the change made."""
        where = self.at[part].to(hidden.device)
        rows = hidden[where].float()
        if not len(rows):
            return hidden
        new = self.change(rows)
        if new.shape != rows.shape:
            raise InvalidArgument(name, tuple(new.shape), f"must replace activations of shape {tuple(rows.shape)}")
        require(bool(torch.isfinite(new).all()), name, "NaN or infinite", "must replace activations by finite values")
        out = hidden.clone()
        out[where] = new.to(hidden.device, hidden.dtype)
        return out


class _Judge:
    """Sums of cross-entropy and of KL from the first logits it is shown, by context of a batch, in pieces.

    Args:
        ids: tokens (batch, context).
        at: positions whose predictions count, of the same shape.
    """

    def __init__(self, ids: Tensor, at: Tensor) -> None:
        self._ids, self._where = ids, at.nonzero()
        self._clean: list[Tensor] = []

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Float64 (batch,) each, on the CPU."""
        contexts, last = self._ids.shape[0], self._ids.shape[1] - 1
        pieces = self._where.split(max(1, _PIECE_BYTES // (4 * logits.shape[-1])))
        first, sums = not self._clean, torch.zeros(2, contexts, dtype=torch.float64)
        for i, piece in enumerate(pieces):
            context, place = piece.T
            log_q = logits[context, place].float().log_softmax(dim=-1)
            if first:
                self._clean.append(log_q)
            log_p = self._clean[i]
            kl = (log_p.exp() * (log_p - log_q)).sum(dim=-1)
            ce = -log_q.gather(1, self._ids[context, (place + 1).clamp_max(last)][:, None])[:, 0]
            ce = torch.where(place < last, ce, 0)
            sums.index_add_(1, context.cpu(), torch.stack([ce, kl]).cpu().double())
        return sums[0], sums[1]


def _contexts_per_batch(vocabulary: int, context: int) -> int:
    return min(_MOST_CONTEXTS, max(1, _LOGIT_BYTES // (2 * 4 * vocabulary * context)))


def _require_same(known: Losses, identity: dict[str, Any]) -> None:
    for name, value in identity.items():
        there = getattr(known, name)
        require(there == value, "known", f"losses with {name} = {there}", f"must have {name} = {value}")
