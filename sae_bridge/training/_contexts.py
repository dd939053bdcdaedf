"""Batches of whole contexts: activations to reconstruct, and what reconstructions do to the model's predictions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import InvalidArgument, generator, require, require_int, require_seed
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import require_harvested_from
from sae_bridge.models import LanguageModel

_PIECE_BYTES = 2**26
"""Log-probabilities that are compared at a time."""


class ContextStream:
    """An :class:`sae_bridge.activations.ActivationStream` whose batches are the positions that count of some contexts.

    Activations are the model's own, not the store's rounded ones, so that the others of a context can stay as they
    are. Every pass over the training contexts is in another order; batch ``step`` is a function of (store, seed, step).

    Args:
        model: that the store was harvested from; it is never changed.
        store: its text, and which positions count.
        contexts: so many a batch.
        seed: of the order.

    Raises:
        InvalidArgument: more contexts than there are with a position that counts; a bad seed.
        InvalidFile: the store is of another model.
    """

    windows = 1

    def __init__(self, model: LanguageModel, store: ActivationStore, contexts: int, seed: int) -> None:
        require_harvested_from(store, model, "train")
        require_seed(seed)
        self._model, self._store, self.seed = model, store, seed
        self._tokens, self._kept = store.tokens("train"), store.kept("train")
        self._usable = self._kept.any(dim=1).nonzero().flatten().numpy()
        self._size = require_int("contexts", contexts)
        allowed = f"must be between 1 and the {len(self._usable)} training contexts with positions that count"
        require(1 <= self._size <= len(self._usable), "contexts", contexts, allowed)
        self.m, self.sha256 = store.m, store.sha256
        self.batch_size = self._size * self._tokens.shape[1]
        """Tokens a batch, with those that do not count."""
        self._layer, self._hook = store.description["layer"], store.description["hook"]

    def contexts(self, step: int) -> np.ndarray:
        """Numbers of the training contexts of batch ``step``, int64; what is left of a pass is left out."""
        of_a_pass = len(self._usable) // self._size
        number, place = divmod(step, of_a_pass)
        order = generator(self.seed, f"contexts of pass {number}").permutation(self._usable)
        return order[place * self._size : (place + 1) * self._size]

    def batch(self, step: int) -> Tensor:
        """Activations (rows, m), float32, of the positions that count; :meth:`divergence` is then about them."""
        chosen = torch.from_numpy(self.contexts(step))
        device = self._model.device
        self._ids, self._at = self._tokens[chosen].to(device), self._kept[chosen].to(device)
        self._hidden = self._model.activations(self._ids, self._layer, self._hook)
        self._clean: Tensor | None = None
        return self._hidden[self._at].float()

    def sample(self, count: int) -> Tensor:
        """The first rows of the store, at most ``count``, float32."""
        return next(self._store.batches("train", count))

    def divergence(self, reconstruction: Tensor) -> Tensor:
        """Mean KL(clean || replaced), in nats, of the predictions at the positions of the last batch, when its
        activations are replaced; differentiable in them.

        Args:
            reconstruction: (rows, m), in the order of the batch.

        Raises:
            InvalidArgument: another shape than the batch's.
        """
        rows = self._hidden[self._at]
        if reconstruction.shape != rows.shape:
            raise InvalidArgument("reconstruction", tuple(reconstruction.shape), f"must be {tuple(rows.shape)}")
        if self._clean is None:  # once for all SAEs that share the batch
            with torch.no_grad():
                self._clean = self._predictions(self._hidden).log_softmax(dim=-1)
        changed = self._hidden.clone()
        changed[self._at] = reconstruction.to(self._hidden)
        logits = self._predictions(changed)
        size = max(1, _PIECE_BYTES // (4 * logits.shape[1]))
        pieces = zip(self._clean.split(size), logits.split(size), strict=True)
        return torch.stack([_kl(clean, logit) for clean, logit in pieces]).sum() / len(rows)

    def _predictions(self, hidden: Tensor) -> Tensor:
        """Logits (rows, vocabulary) of the positions of the batch, float32 at least."""
        logits = self._model.logits_from(self._ids, self._layer, self._hook, hidden)[self._at]
        return logits if logits.dtype == torch.float64 else logits.float()


def _kl(log_p: Tensor, logits: Tensor) -> Tensor:
    """sum_v p (log p - log q), over all rows."""
    return (log_p.exp() * (log_p - logits.log_softmax(dim=-1))).sum()
