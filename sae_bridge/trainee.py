"""One SAE in training: its parameters, moments and counters, one step, and its checkpoint."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from expander_theory.errors import InvalidFile, require
from expander_theory.files import read_arrays, write_arrays
from sae_bridge.centre import geometric_median
from sae_bridge.constraints import constraint
from sae_bridge.in_loop import pursuit_codes
from sae_bridge.parallel import World
from sae_bridge.recipe import Training
from sae_bridge.revival import Batch, dead_features

CHECKPOINT, VERSION = "expander-sae-checkpoint", 2
CONSTANT = 1e-10
"""Activations whose variance is below this share of their mean square are rounding errors about one vector."""
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Trainee:
    """An SAE between two steps.

    Args:
        how: its recipe.
        sample: activations (N, m) that s, b_dec and the variance in FVU come from.
        device: where it trains.
        world: the processes that share its batches.

    Raises:
        InvalidArgument: activations that are all the same.
    """

    def __init__(self, how: Training, sample: Tensor, device: torch.device, world: World) -> None:
        self.how, self.world = how, world
        self.sae = how.build(sample.shape[1])
        mean = sample.mean(dim=0)
        mean_square = float(sample.square().sum(dim=1).mean())
        self.variance = float((sample - mean).square().sum(dim=1).mean())
        varies = self.variance > CONSTANT * mean_square
        require(varies, "activations", f"of variance {self.variance:.3g}", "must vary from token to token")
        if how.start is None:
            self.sae.fit_normalisation(mean if how.centre == "mean" else geometric_median(sample), mean_square)
        self.sae.to(device).train()
        self.sae.gather = world.gathered
        self.constrain = constraint(how, self.sae)
        if self.constrain is not None:
            self.constrain()
            self.sae.normalise_columns()
        self.optimiser = self._optimiser()
        self.dead = dead_features(self.sae, how)
        self.step = self.checkpointed = 0
        self.seconds = 0.0
        self.measured: dict[str, Tensor] = {}

    def _optimiser(self) -> torch.optim.Adam:
        sae, how = self.sae, self.how
        factor = math.sqrt(sae.m / sae.weight.shape[1]) if how.scale_rate else 1.0
        values = [p for p in (sae.weight, sae.encoder) if p is not None]
        rates = ((values, factor * how.learning_rate), ([sae.b_enc, sae.b_dec], how.learning_rate))
        return torch.optim.Adam([{"params": p, "lr": rate, "peak": rate} for p, rate in rates], fused=True)

    def advance(self, h: Tensor) -> None:
        """One optimiser step on this process's activations h (B, m)."""
        begun = time.perf_counter()
        sae, how, world = self.sae, self.how, self.world
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * how.rate_at(self.step)
        with torch.autocast(h.device.type, torch.bfloat16, enabled=how.precision == "bfloat16"):
            x = sae.centred(h)
            acts, indices = sae.code(x) if how.codes == "encoder" else pursuit_codes(sae, x)
            residual = sae.combine(acts, indices) - x
            error = residual.square().sum() / len(h)
            loss = error / sae.m
            auxiliary = self.dead.loss(sae, x, residual, world)
        self.optimiser.zero_grad(set_to_none=True)
        (loss if auxiliary is None else loss + auxiliary).backward()
        world.average_gradients(sae.parameters())
        sae.project_gradient()
        if how.clip is not None:
            torch.nn.utils.clip_grad_norm_(sae.parameters(), how.clip)
        self.optimiser.step()
        if self.constrain is not None:
            self.constrain()
        sae.normalise_columns()
        sae.follow_threshold(acts)
        self.dead.after_step(sae, self.optimiser, self.step, Batch(x, acts, indices, residual), world)
        self.measured = {"error": error.detach(), "active": (acts.detach() != 0).sum() / len(h)}
        self.step += 1
        self.seconds += time.perf_counter() - begun

    def numbers(self) -> dict[str, float]:
        """FVU and L0 of the last batch, features that count as dead now, and the seconds that steps have taken."""
        error, active = (float(self.world.mean(self.measured[name].clone())) for name in ("error", "active"))
        fvu = error / (float(self.sae.scale) ** 2 * self.variance)
        return {"fvu": fvu, "l0": active, "dead": self.dead.dead(), "seconds": round(self.seconds, 3)}

    def finite(self) -> bool:
        """Whether every parameter is a finite number."""
        return all(bool(p.isfinite().all()) for p in self.sae.parameters())

    def save_checkpoint(self, path: Path) -> None:
        """Everything that the next steps depend on, in one file, replaced atomically."""
        arrays: dict[str, np.ndarray] = {"dead.counts": self.dead.counts.cpu().numpy()}
        for name, value in self.sae.state_dict().items():
            arrays[name] = value.cpu().numpy()
        for name, parameter in self.sae.named_parameters():
            for moment in _MOMENTS:
                arrays[f"{name}.{moment}"] = self.optimiser.state[parameter][moment].cpu().numpy()
        fields = {"step": self.step, "seconds": round(self.seconds, 3), "variance": self.variance}
        write_arrays(path, CHECKPOINT, VERSION, fields, arrays)
        self.checkpointed = self.step

    @torch.no_grad()
    def load_checkpoint(self, path: Path) -> None:
        """Go on from what :meth:`save_checkpoint` wrote.

        Raises:
            InvalidFile: damaged, or of another run.
        """
        fields, arrays = read_arrays(path, CHECKPOINT, VERSION)
        state, parameters = self.sae.state_dict(), dict(self.sae.named_parameters())
        expected = {*state, "dead.counts", *(f"{name}.{moment}" for name in parameters for moment in _MOMENTS)}
        if set(arrays) != expected or any(arrays[name].shape != tuple(state[name].shape) for name in state):
            raise InvalidFile(path, "does not fit this run; delete it to start again")
        stored = {name: torch.from_numpy(value).to(self.sae.device) for name, value in arrays.items()}
        self.sae.load_state_dict({name: stored[name] for name in state})
        self.dead.counts = stored["dead.counts"]
        self.step = self.checkpointed = fields["step"]
        self.seconds, self.variance = fields["seconds"], fields["variance"]
        for name, parameter in parameters.items():
            moments = {moment: stored[f"{name}.{moment}"] for moment in _MOMENTS}
            # Where fused Adam keeps its count: beside the parameter.
            count = torch.tensor(float(self.step), device=parameter.device)
            self.optimiser.state[parameter] = {"step": count, **moments}
