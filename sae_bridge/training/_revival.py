"""What is done for features that no longer fire: AuxK, or the resampling of the paper's code."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from expander_theory.base import derived_seed
from sae_bridge.sae import SparseAutoencoder
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training

AUX_WEIGHT = 1 / 32
RESAMPLE_EVERY, RESAMPLE_BELOW = 1000, 5


class DeadFeatures(ABC):
    """Counts firings, and does something for features that have none.

    Attributes:
        counts: per feature, int64 (n,): part of the training state.
    """

    def __init__(self, sae: SparseAutoencoder) -> None:
        self.counts = torch.zeros(sae.n, dtype=torch.int64, device=sae.device)

    @abstractmethod
    def loss(self, sae: SparseAutoencoder, x: Tensor, residual: Tensor, world: World) -> Tensor | None:
        """What is added to the loss, given centred activations x and W code - x, both (B, m)."""

    @abstractmethod
    def after_step(
        self, sae: SparseAutoencoder, optimiser: torch.optim.Optimizer, step: int, batch: Batch, world: World
    ) -> None:
        """Count the firings of a batch; may change parameters and their moments."""

    @abstractmethod
    def dead(self) -> int:
        """How many features count as dead now."""


class Batch:
    """One batch as training saw it, detached: centred activations, codes, and the residual W code - x."""

    def __init__(self, x: Tensor, acts: Tensor, indices: Tensor, residual: Tensor) -> None:
        self.x, self.acts, self.indices, self.residual = (t.detach() for t in (x, acts, indices, residual))

    def firings(self, n: int, world: World) -> Tensor:
        """How often each feature fired, over all processes."""
        fired = self.indices[self.acts != 0]
        return world.total(torch.bincount(fired, minlength=n))


class AuxK(DeadFeatures):
    """Dead features learn to reconstruct the residual (Gao et al. 2024, section A.2).

    The target is h_scaled - W code - b_dec, detached: b_dec enters once, and the auxiliary reconstruction W z has none.
    z is the TopK code of x over the dead features, with k_aux the power of two nearest to m / 2; thresholds and gates
    are passed over (:meth:`sae_bridge.sae.SparseAutoencoder.reconstruction_by`). The loss is
    ||e - W z||^2 / ||e||^2 over the batch; its gradient reaches encoder and decoder of dead features.
    ``counts`` are tokens since a feature last fired.
    """

    def __init__(self, sae: SparseAutoencoder, after: int) -> None:
        super().__init__(sae)
        self.after = after
        self.k = 2 ** round(torch.log2(torch.tensor(max(1.0, sae.m / 2))).item())

    def loss(self, sae: SparseAutoencoder, x: Tensor, residual: Tensor, world: World) -> Tensor | None:
        dead = (self.counts >= self.after).nonzero().flatten()
        if len(dead) == 0:
            return None
        return self.loss_of(sae, x, residual, world, dead, min(self.k, len(dead)))

    @staticmethod
    def loss_of(sae: SparseAutoencoder, x: Tensor, residual: Tensor, world: World, dead: Tensor, k: int) -> Tensor:
        """The loss in which the features ``dead`` compete for ``k`` places."""
        target = -residual.detach()
        missed = target - sae.reconstruction_by(dead, x.detach(), k)
        power = world.mean(target.square().mean())
        return AUX_WEIGHT * missed.square().mean() / power.clamp_min(torch.finfo(power.dtype).tiny)

    def after_step(
        self, sae: SparseAutoencoder, optimiser: torch.optim.Optimizer, step: int, batch: Batch, world: World
    ) -> None:
        tokens = len(batch.x) * world.sharing
        self.counts = torch.where(batch.firings(sae.n, world) > 0, 0, self.counts + tokens)

    def dead(self) -> int:
        return int(torch.ge(self.counts, self.after).sum())


class Resample(DeadFeatures):
    """Every 1,000 steps, features with fewer than 5 firings start again at tokens of large residual.

    The decoder column becomes the residual of a token drawn with probability proportional to its squared error,
    restricted to the mask and of unit norm; a free encoder row the same times 0.2 (Bricken et al. 2023); the encoder
    bias and Adam's moments become zero. ``counts`` are firings since the last resampling. The paper's code does the
    same, at the very last step too, but resamples nothing while more than 80 % of the features are dead.
    """

    def __init__(self, sae: SparseAutoencoder, seed: int) -> None:
        super().__init__(sae)
        self.seed = seed
        self.silent: int | None = None
        """Features without a firing before a resampling in the last step."""

    def loss(self, sae: SparseAutoencoder, x: Tensor, residual: Tensor, world: World) -> Tensor | None:
        return None

    @torch.no_grad()
    def after_step(
        self, sae: SparseAutoencoder, optimiser: torch.optim.Optimizer, step: int, batch: Batch, world: World
    ) -> None:
        self.counts += batch.firings(sae.n, world)
        self.silent = None
        if (step + 1) % RESAMPLE_EVERY:
            return
        self.silent = self.dead()
        dead = (self.counts < RESAMPLE_BELOW).nonzero().flatten()
        self.counts.zero_()
        targets = -world.gathered(batch.residual)
        power = targets.square().sum(dim=1)
        if len(dead) == 0 or not float(power.sum()) > 0:
            return
        generator = torch.Generator().manual_seed(derived_seed(self.seed, f"resampling at step {step}"))
        drawn = torch.multinomial(power.double().cpu(), len(dead), replacement=True, generator=generator)
        aims, first = targets[drawn.to(targets.device)], 0
        for part in sae.decoder_parts:
            own = (dead >= first) & (dead < first + len(part))
            places, columns = dead[own] - first, aims[own]
            if part is sae.weight and sae.rows is not None:
                columns = columns.gather(1, sae.rows[places].long())
            norms = torch.linalg.vector_norm(columns, dim=1, keepdim=True)
            alive = norms[:, 0] > 0  # a token may have no residual on a feature's few rows
            places, columns = places[alive], columns[alive] / norms[alive]
            part[places] = columns
            _forget(optimiser, part, places)
            if sae.encoder is not None:
                sae.encoder[places] = 0.2 * columns
                _forget(optimiser, sae.encoder, places)
            sae.b_enc[first + places] = 0
            _forget(optimiser, sae.b_enc, first + places)
            first += len(part)

    def dead(self) -> int:
        return int(torch.eq(self.counts, 0).sum()) if self.silent is None else self.silent


def _forget(optimiser: torch.optim.Optimizer, parameter: Tensor, places: Tensor) -> None:
    if parameter.requires_grad:
        for moment in ("exp_avg", "exp_avg_sq"):
            optimiser.state[parameter][moment][places] = 0


class CountOnly(AuxK):
    """Counts tokens since the last firing, and leaves dead features alone."""

    def loss(self, sae: SparseAutoencoder, x: Tensor, residual: Tensor, world: World) -> Tensor | None:
        return None


def dead_features(sae: SparseAutoencoder, how: Training) -> DeadFeatures:
    """What the recipe asks for."""
    if how.revival == "resample":
        return Resample(sae, how.seed)
    return (AuxK if how.revival == "auxk" else CountOnly)(sae, how.dead_after)
