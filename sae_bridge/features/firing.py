"""Which features fire on which tokens, read from a store in whole contexts: pieces of bounded size, in text order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import progress_bar
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import AnySAE

_TOKENS = 4096
"""Tokens of a piece, at most, but for a longer context."""


@dataclass(frozen=True)
class Piece:
    """The firings of some whole contexts, ordered by token.

    Attributes:
        contexts: their numbers, ascending, (contexts,).
        tokens: ids, (contexts, context).
        kept: which positions count, bool (contexts, context); features fire nowhere else.
        token: place of each firing in the piece's tokens, flat, increasing, (firings,).
        feature: which feature, (firings,).
        act: its activation, not 0, in the units of the SAE's codes, (firings,).
    """

    contexts: NDArray[np.int64]
    tokens: NDArray[np.int64]
    kept: NDArray[np.bool_]
    token: NDArray[np.int64]
    feature: NDArray[np.int64]
    act: NDArray[np.float32]


@torch.no_grad()
def pieces(
    sae: AnySAE, store: ActivationStore, split: str, contexts: int | None = None, *, label: str = ""
) -> Iterator[Piece]:
    """The firings of a split, piece by piece.

    Args:
        sae: in evaluation mode.
        store: of its activations.
        split: "train" or "held_out".
        contexts: only the first so many; None is all.
        label: of a progress bar; none without it.
    """
    tokens, kept = store.tokens(split).numpy(), store.kept(split).numpy()
    count = len(tokens) if contexts is None else min(contexts, len(tokens))
    step = max(1, _TOKENS // tokens.shape[1])
    starts = range(0, count, step)
    for start in progress_bar(starts, unit="piece", desc=label, show=bool(label)):
        own = np.arange(start, min(start + step, count))
        h = store.context_rows(split, own)
        acts, indices = (
            _numpy(*sae.encode(h.to(sae.device, sae.weight.dtype)))
            if len(h)
            else (np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int64))
        )
        place = np.flatnonzero(kept[own])
        row, column = np.nonzero(acts)
        feature, act = indices[row, column], acts[row, column].astype(np.float32)
        yield Piece(own, tokens[own], kept[own], *_summed(place[row], feature, act, sae.n))


def _numpy(acts: Tensor, indices: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return acts.float().cpu().numpy(), indices.cpu().numpy()


def _summed(
    token: NDArray[np.int64], feature: NDArray[np.int64], act: NDArray[np.float32], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """One firing a token and feature: codes of several pursuit steps may name a feature twice, and its acts add up."""
    key = token * n + feature
    order = np.argsort(key, kind="stable")
    key, act = key[order], act[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if len(first) < len(key):
        act, key = np.add.reduceat(act, first), key[first]
    alive = act != 0
    return key[alive] // n, key[alive] % n, act[alive]
