"""The part of an SAE's features that one process holds, behind the interface of an SAE in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import require
from expander_theory.dictionaries import DenseDictionary, Dictionary
from expander_theory.masks import Mask
from sae_bridge.sae import BATCH_TOPK_SHARE, Options, SparseAutoencoder, initial_weight, kept_above, ops
from sae_bridge.training.recipe import Training
from sae_bridge.training.split.exchange import Exchange


@dataclass(frozen=True)
class Part:
    """Features ``first`` .. ``stop`` - 1 of ``n``, those of process ``rank`` of ``size``: n / size each, the first
    n mod size processes one more."""

    n: int
    rank: int
    size: int

    def __post_init__(self) -> None:
        require(1 <= self.size <= self.n, "processes", self.size, f"must be at most n = {self.n}, one feature each")

    @property
    def first(self) -> int:
        return self.bounds(self.rank)

    @property
    def stop(self) -> int:
        return self.bounds(self.rank + 1)

    @property
    def largest(self) -> int:
        """Features of process 0, which has as many as any."""
        return self.bounds(1)

    def bounds(self, rank: int) -> int:
        """The first feature of that process; n for the one after the last."""
        return rank * (self.n // self.size) + min(rank, self.n % self.size)

    def __len__(self) -> int:
        return self.stop - self.first


class FeatureShard(SparseAutoencoder):
    """Some consecutive features of a TopK or BatchTopK SAE, dense or on a mask; the others are in other processes.

    ``weight``, ``encoder``, ``b_enc`` and ``rows`` are those of its own features; ``b_dec``, ``scale``, ``threshold``
    are the same in every process, and so is what :meth:`combine` gives, the sum over all. Codes are (B, k) pairs of own
    features, numbered from 0 here, with zeros where another process has the chosen one. Methods that code or combine
    are collective: every process must call them, with the same tokens.

    A mask's rows are drawn whole (a mask's generator is sequential), 4 n d bytes for a moment, and then cut; initial
    values are functions of seed, row and column, and made for own columns alone. Both are those of one process.

    Args:
        how: the recipe, one that :func:`require_splittable` lets pass.
        m: activation width.
        exchange: with the other processes.

    Raises:
        InvalidArgument: k or the number of processes does not fit n; see there.
    """

    rows: Tensor | None

    def __init__(self, how: Training, m: int, exchange: Exchange) -> None:
        mask = how.decoder_mask(m)
        n = how.n if mask is None else mask.n
        part = Part(n, exchange.rank, exchange.size)
        least = n // part.size
        require(1 <= how.k <= least, "k", how.k, f"must be at most {least}, the features of a process")
        rows = None if mask is None else mask.rows[part.first : part.stop].copy()
        about_mask = {} if mask is None else {"mask_recipe": mask.recipe, "mask_sha256": mask.sha256}
        del mask

        def values(purpose: str) -> Tensor:
            return initial_weight(m, len(part), rows, seed=how.seed, purpose=purpose, first=part.first)

        options = Options(how.encoder, how.activation, how.selection)
        super().__init__(values("initial decoder"), m, how.k, lambda: values("initial encoder"), options)
        self.register_buffer("rows", None if rows is None else torch.from_numpy(rows))
        self.part, self.exchange = part, exchange
        self.about_mask: dict[str, str] = about_mask
        """Recipe and hash of the whole mask."""

    @property
    def mask(self) -> Mask | None:
        """Supports of its own columns."""
        return None if self.rows is None else Mask(self.m, self.rows.cpu().numpy())

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of centred activations x (B, m), which enter as constants but for b_dec; see the class."""
        # b_dec's gradient through the encoder is the sum of what the processes have: m numbers, where x would be B m.
        shared = self.exchange.spread(self.b_dec)
        x = x.detach() - (shared - shared.detach())
        batch_topk = self.activation == "batch_topk"
        most = min(self.part.n, BATCH_TOPK_SHARE * self.k) if batch_topk else self.k
        scores, indices = self.strongest(x, min(most, self.n))
        acts, strongest = self._of_all(scores, most, min(most, self.part.largest))
        if batch_topk:
            least = kept_above(strongest.relu(), self.k) if self.training else self.threshold
            acts = torch.where(acts > least, acts, 0)
        return acts, indices

    def _of_all(self, scores: Tensor, k: int, width: int) -> tuple[Tensor, Tensor]:
        """Own candidates that are among the k strongest of all processes, others 0; and the k strengths."""
        magnitude = self.selection == "magnitude"
        chosen, strongest = self.exchange.chosen(scores.abs() if magnitude else scores, k, width)
        return torch.where(chosen, scores if magnitude else scores.relu(), 0), strongest

    def combine(self, acts: Tensor, indices: Tensor, *, trusted: bool = False, frozen: bool = False) -> Tensor:
        """W code of all processes, (B, m)."""
        return self.exchange.summed(super().combine(acts, indices, trusted=trusted, frozen=frozen))

    def reconstruction_by(self, features: Tensor, x: Tensor, k: int) -> Tensor:
        """W code where only some features compete, those of all processes together; own ones may be none."""
        width = min(k, int(self.exchange.most(torch.tensor(len(features), device=x.device))))
        own = min(k, len(features))
        if own == 0:
            self._of_all(x.new_empty(len(x), 0), k, width)
            return self.exchange.summed(x.new_zeros(len(x), self.m))
        encoder, weight, bias = (p.index_select(0, features) for p in (self.encoder_weight, self.weight, self.b_enc))
        rows = None if self.rows is None else self.rows[features]
        magnitude = self.selection == "magnitude"
        scores, indices = ops.encode(x, encoder, bias, rows, own, magnitude=magnitude, trusted=True)
        acts, _ = self._of_all(scores, k, width)
        return self.exchange.summed(ops.decode(acts, indices, weight, rows, self.m, trusted=True))

    @torch.no_grad()
    def follow_threshold(self, acts: Tensor) -> None:
        if self.activation == "batch_topk":
            positive = acts[acts > 0]
            own = positive.min() if len(positive) else acts.new_tensor(torch.inf)
            least = self.exchange.least(own)
            self.move_threshold(self.threshold.clone() if bool(least.isinf()) else least)

    def dictionary(self) -> Dictionary | DenseDictionary:
        """Its own columns as an ordinary dictionary."""
        return self.columns(0, self.n)

    def columns(self, begin: int, end: int) -> Dictionary | DenseDictionary:
        """Some of its own columns as a dictionary (unit columns, float64)."""
        values: NDArray[np.float64] = self.weight[begin:end].detach().cpu().double().numpy()
        if self.rows is None:
            return DenseDictionary(values).normalised()
        return Dictionary(Mask(self.m, self.rows[begin:end].cpu().numpy()), values).normalised()

    def stored(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """What the whole SAE is, and the arrays of this part of it."""
        configuration, arrays = super().stored()
        return {**configuration, "n": self.part.n}, arrays
