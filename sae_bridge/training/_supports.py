"""Learned supports: a mask that moves while its decoder is trained, d rows a column at all times (sparse to sparse).

Every ``regrow_every`` steps each column drops its smallest values and takes as many rows that it lacks: those where the
gradient of the loss is largest (RigL, Evci et al. 2020), largest in a decaying sum over the last batches (momentum,
after Dettmers and Zettlemoyer 2019), or random ones (SET, Mocanu et al. 2018). The gradient is that of the
reconstruction error with codes held constant: the whole one for a pursuit; for a tied encoder its own part, and AuxK's,
are left out. What is taken starts at zero. Memory is O(d n) and, for momentum, the codes and residuals of these
batches: the gradients of all m n places are never held, as one column is looked at after another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import generator, require
from sae_bridge import kernels
from sae_bridge.sae import SparseAutoencoder, joined_codes
from sae_bridge.training._revival import Batch
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training

WINDOW, DECAY = 10, 0.9
"""Batches that the momentum criterion looks back on, and what each counts for against the one after it."""
_COLUMNS = 4096
"""Columns for which random rows are drawn at a time."""
_PARTS = ("supports.acts", "supports.indices", "supports.residual")


class LearnedSupports:
    """Moves the supports of one SAE.

    Args:
        how: its recipe, with ``supports`` other than "fixed".
        sae: on a mask of 2 <= d < m.

    Raises:
        InvalidArgument: a dense SAE, or d out of range.
    """

    def __init__(self, how: Training, sae: SparseAutoencoder) -> None:
        m, d = sae.m, sae.weight.shape[1]
        require(2 <= d < m, "d", d, f"must be between 2 and m - 1 = {m - 1} where supports are learned")
        self.how, self.d, self.most = how, d, min(d - 1, m - d)
        self.last = how.regrow_until * how.steps
        self.window = WINDOW if how.supports == "momentum" else 1
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []
        """Codes (B, K), their features, and residuals (B, m) that the next move is decided by."""

    def after_step(
        self, sae: SparseAutoencoder, moments: Iterable[Tensor], step: int, batch: Batch, world: World
    ) -> bool:
        """Look at the batch of a step, and every so often move rows, with their values.

        Args:
            moments: what else is stored by the places of the mask, (n, d): it moves along.

        Returns:
            Whether rows moved: columns are then no longer of unit norm.
        """
        if step >= self.last:
            self.seen = []
            return False
        moves = (step + 1) % self.how.regrow_every == 0
        if self.how.supports == "momentum" or (moves and self.how.supports == "gradient"):
            width = int(world.gathered(batch.indices.new_tensor([batch.acts.shape[1]])).max())
            codes = joined_codes([(batch.acts, batch.indices)], width)  # the same in all processes
            acts, indices, residual = (world.gathered(x) for x in (*codes, batch.residual))
            self.seen = [*self.seen, (*_of_masked(acts, indices, sae), residual)][-self.window :]
        if moves:
            assert sae.rows is not None
            share = self.how.regrow_share * (1 + math.cos(math.pi * step / self.last)) / 2
            count = min(max(1, round(share * self.d)), self.most)
            if self.how.supports == "random":
                rows = _random_rows(sae.rows, sae.m, count, generator(self.how.seed, f"supports after step {step}"))
                useful = torch.ones_like(rows, dtype=torch.bool)
            else:
                rows, useful = self._missing(sae.rows, count)
            _exchange(sae, moments, rows, useful)
        return moves

    def _missing(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The rows of the largest gradients (n, count), and whether there is a gradient: a dead column has none."""
        acts, indices, residual = self._together()
        ages = torch.arange(len(self.seen) - 1, -1, -1, device=acts.device)
        weights = (DECAY ** ages.to(acts.dtype)).repeat_interleave(len(acts) // len(self.seen))
        found, gradient = kernels.backend(acts).missing(acts * weights[:, None], indices, residual, rows, count)
        return found, gradient != 0

    def _together(self) -> tuple[Tensor, Tensor, Tensor]:
        """What was seen, batch below batch."""
        acts, indices = joined_codes((acts, indices) for acts, indices, _ in self.seen)
        return acts, indices, torch.cat([residual for _, _, residual in self.seen])

    def state(self) -> dict[str, np.ndarray]:
        """What the next move depends on besides the SAE, for a checkpoint."""
        if self.how.supports != "momentum" or not self.seen:
            return {}
        return {name: part.cpu().numpy() for name, part in zip(_PARTS, self._together(), strict=True)}

    def load(self, arrays: Mapping[str, np.ndarray], step: int, sae: SparseAutoencoder) -> None:
        """Go on from what :meth:`state` gave after ``step`` steps.

        Raises:
            InvalidArgument: arrays that no state has.
        """
        kept = min(step, self.window) if self.how.supports == "momentum" and step - 1 < self.last else 0
        names = _PARTS if kept else ()
        require(sorted(arrays) == sorted(names), "supports", sorted(arrays), f"must be {sorted(names)}")
        if not kept:
            return
        acts, indices, residual = (torch.from_numpy(arrays[name]) for name in _PARTS)
        of_codes = indices.shape == acts.shape and acts.ndim == 2 and residual.shape == (len(acts), sae.m)
        batches = of_codes and len(acts) > 0 and len(acts) % kept == 0
        typed = indices.dtype == torch.int64 and acts.dtype == residual.dtype == sae.weight.dtype
        require(batches and typed, "supports", tuple(acts.shape), f"must be {kept} batches of codes and residuals")
        finite = bool(acts.isfinite().all()) and bool(residual.isfinite().all())
        features = bool(((indices >= 0) & (indices < len(sae.weight))).all())
        require(finite and features, "supports", "values", "must be finite, of features that there are")
        parts = (part.to(sae.device).chunk(kept) for part in (acts, indices, residual))
        self.seen = list(zip(*parts, strict=True))


def _of_masked(acts: Tensor, indices: Tensor, sae: SparseAutoencoder) -> tuple[Tensor, Tensor]:
    """Codes of the columns on the mask alone, counted from 0: dense columns come before them, and their acts are 0."""
    first = sae.n - len(sae.weight)
    if first == 0:
        return acts, indices
    masked = indices - first
    return acts.where(masked >= 0, 0), masked.clamp_min(0)


@torch.no_grad()
def _exchange(sae: SparseAutoencoder, moments: Iterable[Tensor], rows: Tensor, useful: Tensor) -> None:
    """Every column drops its smallest values for the given rows (n, count), where these are useful."""
    assert sae.rows is not None
    dropped = sae.weight.abs().argsort(dim=1, stable=True)[:, : rows.shape[1]]
    before = sae.rows.gather(1, dropped)
    moved = sae.rows.scatter(1, dropped, torch.where(useful, rows.to(before.dtype), before))
    order = moved.argsort(dim=1)
    sae.rows.copy_(moved.gather(1, order))
    values = [sae.weight] if sae.encoder is None else [sae.weight, sae.encoder]
    for stored in (*values, *moments):
        kept = stored.gather(1, dropped).masked_fill(useful, 0)
        stored.copy_(stored.scatter(1, dropped, kept).gather(1, order))


def _random_rows(rows: Tensor, m: int, count: int, rng: np.random.Generator) -> Tensor:
    """For each column ``count`` rows off its support, (n, count), uniformly."""
    found = []
    for own in rows.cpu().split(_COLUMNS):
        keys = torch.from_numpy(rng.random((len(own), m))).scatter_(1, own.long(), -1)
        found.append(keys.topk(count, dim=1).indices)
    return torch.cat(found).to(rows.device)


def learned_supports(how: Training, sae: SparseAutoencoder) -> LearnedSupports | None:
    """What the recipe asks for, if it asks for supports that move.

    Raises:
        InvalidArgument: supports that cannot move.
    """
    return None if how.supports == "fixed" else LearnedSupports(how, sae)
