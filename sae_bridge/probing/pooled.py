"""Texts as single vectors: the mean, over the tokens that count, of activations and of SAEs' codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from expander_theory.base import InvalidArgument, progress_bar
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import AnySAE
from sae_bridge.models import LanguageModel

_TEXTS = 8


@dataclass(frozen=True)
class Pooled:
    """Mean activations (texts, m), and mean codes (texts, n) by SAE, float32."""

    raw: NDArray[np.float32]
    codes: Mapping[str, NDArray[np.float32]]


@torch.no_grad()
def pooled(
    texts: Sequence[str],
    model: LanguageModel,
    store: ActivationStore,
    saes: Mapping[str, AnySAE],
    *,
    progress: bool = True,
) -> Pooled:
    """Read texts with a language model, as far as a context of the store goes.

    Args:
        texts: each is one context, cut after as many tokens as the store's contexts have.
        model, store: the model, and where activations are taken from it: layer, hook, positions that count.
        saes: by name, in evaluation mode.

    Raises:
        InvalidArgument: a text of which no token counts.
    """
    about, limit = store.description, store.norm_limit
    raw = np.zeros((len(texts), store.m), np.float32)
    codes = {name: np.zeros((len(texts), sae.n), np.float32) for name, sae in saes.items()}
    for start in progress_bar(range(0, len(texts), _TEXTS), unit=f"x{_TEXTS} texts", desc="read", show=progress):
        tokens, counted = _tokens(texts[start : start + _TEXTS], start, model, store)
        hidden = model.activations(torch.from_numpy(tokens).long(), about["layer"], about["hook"]).float().cpu()
        inside = counted & (torch.linalg.vector_norm(hidden.double(), dim=2).numpy() <= limit)
        inside = np.where(inside.any(axis=1, keepdims=True), inside, counted)
        rows = torch.from_numpy(inside)
        text = torch.from_numpy(np.nonzero(inside)[0])
        h, count = hidden[rows], torch.from_numpy(inside.sum(axis=1))[:, None]
        here = slice(start, start + len(tokens))
        raw[here] = (torch.zeros(len(tokens), store.m).index_add_(0, text, h) / count).numpy()
        for name, sae in saes.items():
            acts, indices = (part.cpu() for part in sae.encode(h.to(sae.device, sae.weight.dtype)))
            place = (text[:, None] * sae.n + indices).flatten()
            total = torch.zeros(len(tokens) * sae.n).index_add_(0, place, acts.float().flatten())
            codes[name][here] = (total.reshape(-1, sae.n) / count).numpy()
    return Pooled(raw, codes)


def _tokens(
    texts: Sequence[str], first: int, model: LanguageModel, store: ActivationStore
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Token ids (texts, longest) and which positions count. What fills a short text up comes after it, where a causal
    model's activations of the text do not see it, and does not count."""
    policy, length = store.policy, int(store.description["context"])
    front = [] if policy.bos_id is None else [policy.bos_id]
    found = [[*front, *model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]] for text in texts]
    longest = max(1, min(length, max(map(len, found))))
    tokens = np.zeros((len(texts), longest), np.int32)
    real = np.zeros(tokens.shape, bool)
    for row, ids in enumerate(found):
        own = ids[:longest]
        tokens[row, : len(own)], real[row, : len(own)] = own, True
    counted = policy.candidates(tokens) & real
    empty = np.flatnonzero(~counted.any(axis=1)).tolist()
    if empty:
        raise InvalidArgument("texts", repr(texts[empty[0]][:60]), f"text {first + empty[0]} has no token that counts")
    return tokens, counted
