"""Training with the features split over processes: every process has every token, and some of the columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expander_theory.base import require
from sae_bridge.evaluation import feature_energy, weighted_effective_degree
from sae_bridge.sae import SparseAutoencoder
from sae_bridge.training._revival import AuxK, DeadFeatures
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training
from sae_bridge.training.split._gathering import write_whole
from sae_bridge.training.split.checkpoints import newest_whole, part_path, parts_of
from sae_bridge.training.split.exchange import Exchange
from sae_bridge.training.split.refusals import require_splittable
from sae_bridge.training.split.shard import FeatureShard
from sae_bridge.training.training_run import TrainingRun


class SharedAuxK(AuxK):
    """AuxK over the dead features of all processes: they compete for the same k_aux places.

    Args:
        revives: whether their loss is added; without it they are only counted.
    """

    def __init__(self, sae: SparseAutoencoder, after: int, exchange: Exchange, revives: bool) -> None:
        super().__init__(sae, after)
        self._exchange, self._revives = exchange, revives

    def loss(self, sae: SparseAutoencoder, x: Tensor, residual: Tensor, world: World) -> Tensor | None:
        count = self.dead() if self._revives else 0
        if count == 0:
            return None
        dead = (self.counts >= self.after).nonzero().flatten()
        return self.loss_of(sae, x, residual, world, dead, min(self.k, count))

    def dead(self) -> int:
        return int(self._exchange.total(torch.ge(self.counts, self.after).sum()))


class SplitRun(TrainingRun):
    """A :class:`TrainingRun` of which this process holds a part; all processes go through its methods together.

    Args, errors: as there; also InvalidArgument for a recipe that :func:`require_splittable` refuses.
    """

    sae: FeatureShard

    def __init__(
        self, how: Training, sample: Tensor, device: torch.device, world: World, identity: Mapping[str, Any]
    ) -> None:
        require(world.split == "features", "split", repr(world.split), "must be 'features'")
        require_splittable(how)
        self.exchange = Exchange(world.rank, world.size)
        super().__init__(how, sample, device, world, identity)
        part = self.sae.part
        self.identity |= {"features": [part.first, part.stop], "processes": part.size}

    def _build(self, m: int) -> SparseAutoencoder:
        return FeatureShard(self.how, m, self.exchange)

    def _dead_features(self) -> DeadFeatures:
        return SharedAuxK(self.sae, self.how.dead_after, self.exchange, self.how.revival == "auxk")

    def _clip(self, largest: float) -> None:
        """Scale all gradients so that their norm over all processes is at most ``largest``, as torch does in one."""
        gradients = [(name, p.grad) for name, p in self.sae.named_parameters() if p.grad is not None]
        squares = self.sae.b_dec.new_zeros((), dtype=torch.float64)
        for name, gradient in gradients:
            if name != "b_dec":
                squares += torch.linalg.vector_norm(gradient).double().square()
        squares = self.exchange.total(squares)
        if self.sae.b_dec.grad is not None:  # the same in all
            squares += torch.linalg.vector_norm(self.sae.b_dec.grad).double().square()
        factor = (largest / (squares.sqrt() + 1e-6)).clamp(max=1.0).to(self.sae.b_dec.dtype)
        for _, gradient in gradients:
            gradient.mul_(factor)

    def numbers(self) -> dict[str, float]:
        """As for one process, of the whole SAE."""
        fvu = float(self.measured["error"]) / (float(self.sae.scale) ** 2 * self.variance)
        energy = feature_energy(*self.codes, self.sae.n)
        own = float((energy * self.sae.weight.detach().double().square().sum(dim=1)).sum())
        degree = weighted_effective_degree(self.sae.decoder_parts, energy) if own > 0 else 0.0
        sums = torch.tensor([degree * own, own], dtype=torch.float64, device=self.sae.device)
        weighted, whole = self.exchange.total(sums).tolist()
        active = float(self.exchange.total(self.measured["active"].double()))
        found = {"fvu": fvu, "l0": active, "dead": self.dead.dead(), "seconds": round(self.seconds, 3)}
        return {**found, "effective_degree": weighted / whole} if whole > 0 and math.isfinite(weighted) else found

    def finite(self) -> bool:
        return self.exchange.all(super().finite(), self.sae.device)

    @property
    def writes(self) -> bool:
        return True

    def save_checkpoint(self, path: Path) -> None:
        """Write this process's part; older parts go when every process has written."""
        rank, size = self.exchange.rank, self.exchange.size
        super().save_checkpoint(part_path(path, self.step, rank, size))
        self.exchange.wait()
        self._forget_parts(path, but=self.step)

    def resume(self, path: Path) -> None:
        """Go on from the newest checkpoint of which all parts are there, if there is one.

        Raises:
            InvalidFile: damaged, of another run, of another number of processes, or of one whose features are whole.
        """
        step = newest_whole(path, self.exchange.size)
        if step is not None:
            self.load_checkpoint(part_path(path, step, self.exchange.rank, self.exchange.size))

    def forget_checkpoints(self, path: Path) -> None:
        self._forget_parts(path)

    def _forget_parts(self, path: Path, but: int | None = None) -> None:
        for (step, rank, _), place in parts_of(path).items():
            if rank == self.exchange.rank and step != but:
                place.unlink(missing_ok=True)

    def write(self, folder: Path, decoder: Path, fields: dict[str, Any]) -> None:
        write_whole(self.sae, decoder, folder, fields)
