"""A store of activations in memory, for tests of evaluation: any rows, or those of a language model on given tokens."""

from types import SimpleNamespace

import numpy as np
import torch


class MemoryStore:
    """Answers as :class:`sae_bridge.activations.store.ActivationStore` does.

    Args:
        hidden: activations (contexts, context, m) of each split.
        kept: which positions count, bool (contexts, context), of each split; all by default.
        documents: numbers (contexts,) of the held-out documents; each context its own by default.
    """

    folder, sha256 = "memory", "memory"

    def __init__(self, hidden, kept=None, documents=None, tokens=None, description=None):
        self._hidden, self._tokens = hidden, tokens
        self._kept = kept or {split: torch.ones(h.shape[:2], dtype=torch.bool) for split, h in hidden.items()}
        self._documents = np.arange(len(hidden["held_out"])) if documents is None else documents
        self.m = hidden["held_out"].shape[-1]
        self.description = description or {}

    def tokens(self, split):
        return self._tokens[split]

    def kept(self, split):
        return self._kept[split]

    def documents(self, split):
        return self._documents

    def rows(self, split):
        return self._hidden[split][self._kept[split]]

    def count(self, split):
        return len(self.rows(split))

    def batches(self, split, size):
        yield from self.rows(split).split(size)


def random_store(contexts=12, context=10, m=8, seed=0, drop=0.2, documents=None):
    """Gaussian activations off centre, a share of whose positions does not count."""
    generator = torch.Generator().manual_seed(seed)
    shape = {"train": (2 * contexts, context), "held_out": (contexts, context)}
    hidden = {split: 3 + torch.randn(*size, m, generator=generator) for split, size in shape.items()}
    kept = {split: torch.rand(size, generator=generator) >= drop for split, size in shape.items()}
    return MemoryStore(hidden, kept, documents)


def model_store(model, tokens, layer, hook, kept, documents=None):
    """The activations of a language model on tokens (contexts, context) by split."""
    hidden = {split: model.activations(ids, layer, hook) for split, ids in tokens.items()}
    about = {"model": model.name, "model_fingerprint": model.fingerprint, "layer": layer, "hook": hook}
    return MemoryStore(hidden, kept, documents, tokens, about)


def fake_sae(encode, decode, m, n):
    """An SAE of two functions."""
    return SimpleNamespace(encode=encode, decode=decode, m=m, n=n, weight=torch.zeros(n, 1))
