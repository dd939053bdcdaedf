"""One SAE in training: its parameters, moments and counters, one step, and its checkpoint."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import InvalidArgument, InvalidFile, require
from expander_theory.masks import Mask
from expander_theory.results import Count, Nonnegative, Positive, canonical_json, diff, read_arrays, typed, write_arrays
from sae_bridge.evaluation import feature_energy, weighted_effective_degree
from sae_bridge.sae import SparseAutoencoder
from sae_bridge.training._centre import geometric_median
from sae_bridge.training._constraints import constraint
from sae_bridge.training._revival import Batch, DeadFeatures, dead_features
from sae_bridge.training._supports import learned_supports
from sae_bridge.training.finetuning import balanced
from sae_bridge.training.objectives import objective
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training
from sae_bridge.training.split import require_no_parts

CHECKPOINT, VERSION = "expander-sae-checkpoint", 3
GROWTH = 10.0
"""A batch FVU of this many times what the run has had ends it; see :meth:`TrainingRun.exploded`."""
Divergence = Callable[[Tensor], Tensor]
"""Reconstructions (B, m) of a batch, in the units of h, to the KL divergence that they cause, differentiable."""
CONSTANT = 1e-10
"""Activations whose variance is below this share of their mean square are rounding errors about one vector."""
_MOMENTS = ("exp_avg", "exp_avg_sq")


class _Progress(TypedDict):
    """What a checkpoint says of its run beside the arrays."""

    identity: dict[str, Any]
    step: Count
    seconds: Nonnegative
    variance: Positive
    reference: Nonnegative | None


class TrainingRun:
    """An SAE between two steps.

    Args:
        how: its recipe.
        sample: activations (N, m) that s, b_dec and the variance in FVU come from.
        device: where it trains.
        world: the processes that share its batches.
        identity: what decides the result (JSON-able): a checkpoint of another run is refused.

    Raises:
        InvalidArgument: activations that are all the same.
    """

    def __init__(
        self, how: Training, sample: Tensor, device: torch.device, world: World, identity: Mapping[str, Any]
    ) -> None:
        self.how, self.world = how, world
        self.identity: dict[str, Any] = json.loads(canonical_json(dict(identity)))
        self.sae = self._build(sample.shape[1])
        if how.start is None:
            self.sae.fit_input(sample)
        aim = self.sae.reconstructed_part(sample)
        mean, mean_square, self.variance = _moments(aim)
        varies = self.variance > CONSTANT * mean_square
        require(varies, "activations", f"of variance {self.variance:.3g}", "must vary from token to token")
        if how.start is None:
            self.sae.fit_normalisation(mean if how.centre == "mean" else geometric_median(aim), mean_square)
        self.sae.to(device).train()
        self.sae.gather = world.gathered
        self.constrain = constraint(how, self.sae)
        if self.constrain is not None:
            self.constrain()
            self.sae.normalise_columns()
        if how.start is None:
            self.sae.fit_thresholds(sample, how.initial_threshold)
        self.supports = learned_supports(how, self.sae)
        self.objective = objective(how, self.sae, world)
        self.optimiser = self._optimiser()
        self.dead = self._dead_features()
        self.step = self.checkpointed = 0
        self.seconds = 0.0
        self.reference: float | None = None
        self.measured: dict[str, Tensor] = {}
        self.codes: tuple[Tensor, Tensor] = (torch.empty(0, 1), torch.empty(0, 1, dtype=torch.int64))

    def _build(self, m: int) -> SparseAutoencoder:
        return self.how.build(m)

    def _dead_features(self) -> DeadFeatures:
        return dead_features(self.sae, self.how)

    def _clip(self, largest: float) -> None:
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), largest)

    def _optimiser(self) -> torch.optim.Adam:
        factors = self.sae.rate_factors()
        sides: dict[float | None, list[Tensor]] = {}  # by their factor: columns and rows; others under None
        for name, parameter in self._trained():
            sides.setdefault(factors.get(name), []).append(parameter)
        groups = [
            {"params": params, "peak": self.how.learning_rate * (factor if factor and self.how.scale_rate else 1.0)}
            for factor, params in sides.items()
        ]
        return torch.optim.Adam([{**group, "lr": group["peak"]} for group in groups], fused=True)

    def _trained(self) -> list[tuple[str, Tensor]]:
        """The parameters that have moments, by name: a pursuit's b_enc has none."""
        return [(name, parameter) for name, parameter in self.sae.named_parameters() if parameter.requires_grad]

    def advance(self, h: Tensor, divergence: Divergence | None = None) -> None:
        """One optimiser step on this process's activations h (B, m).

        Args:
            h: the batch.
            divergence: of the language model's output, for a recipe with ``finetuned``.
        """
        begun = time.perf_counter()
        sae, how, world, finetuned = self.sae, self.how, self.world, self.how.finetuned
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * how.rate_at(self.step)
        with torch.autocast(h.device.type, torch.bfloat16, enabled=how.precision == "bfloat16"):
            x = sae.centred(h)
            acts, indices, combined, residual, error, loss = self.objective(x, sae.target(h, x), self.step)
            kl = None
            if finetuned is not None and finetuned.weight > 0 and divergence is not None:
                kl = divergence((combined + sae.b_dec) / sae.scale)
                loss = balanced(loss, kl, finetuned.weight)
            auxiliary = self.dead.loss(sae, x, residual, world)
        self.optimiser.zero_grad(set_to_none=True)
        (loss if auxiliary is None else loss + auxiliary).backward()
        world.average_gradients(sae.parameters())
        sae.project_gradient()
        if how.clip is not None:
            self._clip(how.clip)
        self.optimiser.step()
        if self.constrain is not None:
            self.constrain()
        sae.normalise_columns()
        sae.follow_threshold(acts)
        batch = Batch(x, acts, indices, residual)
        self.dead.after_step(sae, self.optimiser, self.step, batch, world)
        if self.supports is not None and self.supports.after_step(sae, self._adam_moments(), self.step, batch, world):
            sae.normalise_columns()
        self.measured = {"error": error.detach(), "active": (acts.detach() != 0).sum() / len(h)}
        self.objective.after_step(self.measured["active"])
        if kl is not None:
            self.measured["kl"] = kl.detach()
        self.codes = (acts.detach(), indices)
        self.step += 1
        self.seconds += time.perf_counter() - begun

    def _adam_moments(self) -> list[Tensor]:
        """Adam's moments of what lies on the mask."""
        values = [p for p in (self.sae.weight, self.sae.encoder) if p is not None]
        return [self.optimiser.state[p][moment] for p in values for moment in _MOMENTS]

    def numbers(self) -> dict[str, float]:
        """FVU, L0 and weighted effective degree of the last batch, and its KL divergence where that is in the loss;
        features that are dead now, seconds of the steps."""
        error, active = (float(self.world.mean(self.measured[name].clone())) for name in ("error", "active"))
        fvu = error / (float(self.sae.scale) ** 2 * self.variance)
        found = {"fvu": fvu, "l0": active, "dead": self.dead.dead(), "seconds": round(self.seconds, 3)}
        if "kl" in self.measured:
            found["kl"] = float(self.measured["kl"])
        energy = self.world.total(feature_energy(*self.codes, self.sae.n))
        degree = weighted_effective_degree(self.sae.decoder_parts, energy)
        return found if math.isnan(degree) else {**found, "effective_degree": degree}

    def exploded(self, fvu: float) -> bool:
        """Whether the FVU of the last step means that the run has diverged: NaN, or growth against its own past.

        What an untrained SAE has depends on k, n and d: with tied columns and a large k its FVU is far above 1, and
        falls at once. So the FVU may be at most :data:`GROWTH` times the first one that was measured, and after the
        warm-up times the least since its end, but always as much times 1, what predicting the mean has. Call it once a
        measurement: the reference moves.
        """
        limit = GROWTH * max(1.0, fvu if self.reference is None else self.reference)
        if not fvu <= limit:
            return True
        warm = self.step > self.how.warm_up_steps
        self.reference = fvu if self.reference is None else min(fvu, self.reference) if warm else self.reference
        return False

    def finite(self) -> bool:
        """Whether every parameter is a finite number."""
        return all(bool(p.isfinite().all()) for p in self.sae.parameters())

    @property
    def writes(self) -> bool:
        """Whether this process saves checkpoints, and takes part in writing the SAE."""
        return self.world.writes

    def resume(self, path: Path) -> None:
        """Go on from the checkpoint that is kept at ``path``, if there is one.

        Raises:
            InvalidFile: damaged, of another run, or of processes that split the features.
        """
        require_no_parts(path)
        if path.is_file():
            self.load_checkpoint(path)

    def forget_checkpoints(self, path: Path) -> None:
        """Remove what is kept at ``path``."""
        path.unlink(missing_ok=True)

    def write(self, folder: Path, decoder: Path, fields: dict[str, Any]) -> None:
        """Save the SAE into ``folder``, with its training ``fields``, and its decoder as ``decoder``."""
        self.sae.dictionary().save(decoder)
        self.sae.save(folder, fields)

    def save_checkpoint(self, path: Path) -> None:
        """Everything that the next steps depend on, in one file, replaced atomically."""
        arrays: dict[str, np.ndarray] = {"dead.counts": self.dead.counts.cpu().numpy()}
        for name, value in {**self.sae.state_dict(), **self.objective.state()}.items():
            arrays[name] = value.cpu().numpy()
        for name, parameter in self._trained():
            for moment in _MOMENTS:
                arrays[f"{name}.{moment}"] = self.optimiser.state[parameter][moment].cpu().numpy()
        if self.supports is not None:
            arrays |= self.supports.state()
        progress: _Progress = {
            "identity": self.identity,
            "step": self.step,
            "seconds": round(self.seconds, 3),
            "variance": self.variance,
            "reference": self.reference,
        }
        write_arrays(path, CHECKPOINT, VERSION, progress, arrays)
        self.checkpointed = self.step

    @torch.no_grad()
    def load_checkpoint(self, path: Path) -> None:
        """Go on from what :meth:`save_checkpoint` wrote.

        Raises:
            InvalidFile: damaged, or of another run; says which fields differ.
        """
        fields, arrays = read_arrays(path, CHECKPOINT, VERSION)
        if "identity" not in fields:
            raise InvalidFile(path, "is of an older release and does not say whose it is; delete it to start again")
        progress = typed(path, fields, _Progress)
        differences = [
            f"{at} is {old} there and {new} here" for at, old, new in diff(progress["identity"], self.identity)
        ]
        if differences:
            raise InvalidFile(path, f"belongs to another run: {'; '.join(differences)}; choose another folder")
        if progress["step"] > self.how.steps:
            raise InvalidFile(path, f"step = {progress['step']}: must be at most steps = {self.how.steps}")
        if self.supports is not None:
            own = {name: arrays.pop(name) for name in list(arrays) if name.startswith("supports.")}
            try:
                self.supports.load(own, progress["step"], self.sae)
            except InvalidArgument as error:
                raise InvalidFile(path, f"damaged: {error}") from None
        stored = self._checked(path, arrays)
        self.sae.load_state_dict({name: stored[name] for name in self.sae.state_dict()})
        self.dead.counts = stored["dead.counts"]
        try:
            self.objective.load({name: stored[name] for name in self.objective.state()})
        except InvalidArgument as error:
            raise InvalidFile(path, f"damaged: {error}") from None
        self.step = self.checkpointed = progress["step"]
        self.seconds, self.variance = progress["seconds"], progress["variance"]
        self.reference = progress["reference"]
        for name, parameter in self._trained():
            moments = {moment: stored[f"{name}.{moment}"] for moment in _MOMENTS}
            # Where fused Adam keeps its count: beside the parameter.
            count = torch.tensor(float(self.step), device=parameter.device)
            self.optimiser.state[parameter] = {"step": count, **moments}

    def _checked(self, path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """A checkpoint's arrays as tensors, if they are what this run's would be: kernels believe them."""
        expected = {"dead.counts": self.dead.counts, **self.sae.state_dict(), **self.objective.state()}
        for name, parameter in self._trained():
            expected |= {f"{name}.{moment}": parameter for moment in _MOMENTS}
        if arrays.keys() != expected.keys():
            raise InvalidFile(path, f"damaged: lacks or adds {', '.join(sorted(arrays.keys() ^ expected.keys()))}")
        stored = {}
        for name, like in expected.items():
            value = torch.from_numpy(arrays[name])
            if value.shape != like.shape or value.dtype != like.dtype:
                found = f"{value.dtype} of shape {tuple(value.shape)}"
                raise InvalidFile(path, f"damaged: {name} is {found}, expected {like.dtype} of {tuple(like.shape)}")
            if not bool(value.isfinite().all()):
                raise InvalidFile(path, f"damaged: {name} holds NaN or infinity")
            if name.endswith(("exp_avg_sq", "counts")) and bool((value < 0).any()):
                raise InvalidFile(path, f"damaged: {name} has negative entries")
            if name == "scale" and not bool(value > 0):
                raise InvalidFile(path, f"damaged: its scale is {float(value)}")
            stored[name] = value.to(self.sae.device)
        if self.supports is not None:
            try:
                Mask(self.sae.m, arrays["rows"])  # the loops believe it
            except InvalidArgument as error:
                raise InvalidFile(path, f"damaged: {error}") from None
        elif self.sae.rows is not None and not torch.equal(stored["rows"], self.sae.rows):
            raise InvalidFile(path, "damaged: its rows are not those of this run's mask")
        return stored


def _moments(sample: Tensor) -> tuple[Tensor, float, float]:
    """Mean (m,), E ||h||^2 and E ||h - mean||^2, in float64: squares of float32 overflow or vanish early."""
    mean = sample.mean(dim=0)
    squares = [
        (float(p.double().square().sum()), float((p - mean).double().square().sum())) for p in sample.split(4096)
    ]
    of_all, of_rest = (sum(parts) / len(sample) for parts in zip(*squares, strict=True))
    return mean, of_all, of_rest
