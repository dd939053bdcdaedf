"""Training steps of TopK SAEs that mean the same: ours on a mask, and dense ones started at the same decoder.

All hold unit columns, code with E = W^T at the start, minimise the mean squared error with Adam, and keep the columns
on the sphere where their library does. Ours and the plain one are tied; SAELens and sparsify only have untied SAEs.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from experiments.bench.agreement import differences
from experiments.bench.driver import Call, Contender
from sae_bridge.training import Training, TrainingRun, World

RATE = 1e-3
CPU = torch.device("cpu")
COMPARED = 256
"""Tokens for which answers are compared."""


@dataclass(frozen=True)
class Size:
    """A problem.

    Attributes:
        m, n, k, d: sizes of the SAE.
        goal: how many times faster (or, where memory is compared, smaller) than each peer ours has to be.
    """

    m: int
    n: int
    k: int
    d: int
    goal: float

    @property
    def text(self) -> str:
        return f"m = {self.m}, n = {self.n:,}, k = {self.k}, d = {self.d}"


class Trained(ABC):
    """An SAE in training, built from our untrained one. SAEs of other libraries are on the CPU.

    Attributes:
        name: for the table.
        package: the import that it needs.
        compiles: whether its first step does.
    """

    name: str
    package = "torch"
    compiles = False

    @abstractmethod
    def __init__(self, size: Size, x: Tensor, seed: int, device: torch.device = CPU) -> None: ...

    @abstractmethod
    def step(self, x: Tensor) -> None:
        """Forward, backward, optimiser."""

    @abstractmethod
    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction (B, m), and the gradient of the mean over tokens of the squared error in W (n, m); where the
        encoder is free, the sum of both gradients, which is that of a tied one."""

    @classmethod
    def installed(cls) -> bool:
        """Whether its package is."""
        return importlib.util.find_spec(cls.package) is not None

    @classmethod
    def contender(
        cls, size: Size, x: Tensor, seed: int, *, device: torch.device = CPU, steps: int = 1, once: bool = False
    ) -> Contender:
        """A step, for the driver, after so many that are not timed: moments exist then."""

        def prepare() -> dict[str, Call]:
            one = cls(size, x, seed, device)
            for _ in range(steps):
                one.step(x)
            return {"step": lambda: one.step(x)}

        return Contender(cls.name, len(x), prepare, warm=cls.compiles, once=once)


def answers_apart(
    kinds: Iterable[type[Trained]],
    size: Size,
    x: Tensor,
    seed: int,
    device: torch.device,
    ours: type[Trained] | None = None,
) -> list[str]:
    """Where reconstructions or gradients of the first tokens, before any step, differ from ours.

    Gradients are compared on the mask, outside of which ours is 0.
    """
    some, apart = x[:COMPARED], []
    out, gradient = (ours or Ours)(size, x, seed, device).gradient(some)
    for kind in kinds:
        other_out, other_gradient = kind(size, x, seed, device).gradient(some)
        expected = {"reconstruction": out, "gradient": gradient}
        found = {"reconstruction": other_out, "gradient": other_gradient * (gradient != 0)}
        apart += [f"{size.text}: {kind.name}, {what}" for what in differences(expected, found)]
    return apart


class Ours(Trained):
    """:class:`sae_bridge.training.TrainingRun`, whose step also counts dead features."""

    name, compiles = "ours", True
    coding: ClassVar[dict[str, Any]] = {}
    """How its codes are found, where that is not TopK: fields of the recipe."""

    def __init__(self, size: Size, x: Tensor, seed: int, device: torch.device = CPU) -> None:
        coding = {name: size.k if value == "k" else value for name, value in self.coding.items()}
        how = replace(_recipe(size, seed), **coding)
        self.training_run = TrainingRun(how, x.cpu(), device, World(), how.identity())

    def step(self, x: Tensor) -> None:
        self.training_run.advance(x)

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sae = self.training_run.sae
        out = sae.combine(*sae.code(x))
        (found,) = torch.autograd.grad((out - x).square().sum() / len(x), [sae.weight])
        assert sae.rows is not None
        return out.detach(), _spread(found, sae.rows, sae.m)


class OursOMP(Ours):
    """The same with OMP in the loop: least squares on atoms chosen one by one, anew on the decoder of every step."""

    name, coding = "ours, OMP", {"encoder": "omp"}


class OursMatchingPursuit(Ours):
    """The same with k rounds of one feature each: matching pursuit under positive scores."""

    name, coding = "ours, matching pursuit", {"pursuit_steps": "k"}


class Dense(Trained):
    """What one writes in plain torch: a product, ``topk``, ``scatter``, a product."""

    name = "plain torch, tied"

    def __init__(self, size: Size, x: Tensor, seed: int, device: torch.device = CPU) -> None:
        self.k, self.weight = size.k, torch.nn.Parameter(_start(size, seed).to(device))
        self.b_enc, self.b_dec = (torch.nn.Parameter(torch.zeros(width, device=device)) for width in (size.n, size.m))
        self.optimiser = _adam([self.weight, self.b_enc, self.b_dec])

    def _forward(self, x: Tensor) -> Tensor:
        scores = torch.addmm(self.b_enc, x - self.b_dec, self.weight.T)
        values, indices = scores.topk(self.k, dim=1)
        codes = torch.zeros_like(scores).scatter(1, indices, values.relu())
        return codes @ self.weight + self.b_dec

    def step(self, x: Tensor) -> None:
        loss = (self._forward(x) - x).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        gradient = self.weight.grad
        assert gradient is not None
        with torch.no_grad():
            gradient -= torch.linalg.vecdot(gradient, self.weight)[:, None] * self.weight
            torch.nn.utils.clip_grad_norm_([self.weight, self.b_enc, self.b_dec], 1.0)
            self.optimiser.step()
            self.weight /= torch.linalg.vector_norm(self.weight, dim=1, keepdim=True)

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self._forward(x)
        (found,) = torch.autograd.grad((out - x).square().sum() / len(x), [self.weight])
        return out.detach(), found


class CompiledDense(Dense):
    """The same under ``torch.compile``."""

    name = "dense, torch.compile"

    def __init__(self, size: Size, x: Tensor, seed: int, device: torch.device = CPU) -> None:
        super().__init__(size, x, seed, device)
        self._compiled = torch.compile(super().step)

    def step(self, x: Tensor) -> None:
        self._compiled(x)


class SAELens(Trained):
    """``TopKTrainingSAE``, stepped as its trainer does."""

    name, package, sparse = "SAELens TopK", "sae_lens", False

    def __init__(self, size: Size, x: Tensor, seed: int, device: torch.device = CPU) -> None:
        from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig  # pyright: ignore[reportMissingImports]

        how = {"rescale_acts_by_decoder_norm": False, "use_sparse_activations": self.sparse}
        self.sae: Any = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=size.m, d_sae=size.n, k=size.k, **how))
        weight = _start(size, seed)
        self.sae.load_state_dict({**self.sae.state_dict(), "W_dec": weight, "W_enc": weight.T})
        self.optimiser = _adam(list(self.sae.parameters()))

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        from sae_lens.saes.sae import TrainStepInput  # pyright: ignore[reportMissingImports]

        given = TrainStepInput(
            sae_in=x, coefficients={}, dead_neuron_mask=None, n_training_steps=0, is_logging_step=False
        )
        output = self.sae.training_forward_pass(given)
        return output.loss, output.sae_out

    def step(self, x: Tensor) -> None:
        loss, _ = self._forward(x)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self.optimiser.step()

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loss, out = self._forward(x)
        encoder, decoder = torch.autograd.grad(loss, [self.sae.W_enc, self.sae.W_dec])
        return out.detach(), encoder.T + decoder


class SAELensSparse(SAELens):
    """SAELens's TopK SAE with its sparse codes."""

    name, sparse = "SAELens TopK, sparse codes", True


class SAELensMatchingPursuit(SAELens):
    """``MatchingPursuitTrainingSAE``, tied and dense, made to take k steps: no other rule stops it."""

    name = "SAELens matching pursuit"

    def __init__(self, size: Size, x: Tensor, seed: int, device: torch.device = CPU) -> None:
        from sae_lens import (  # pyright: ignore[reportMissingImports]
            MatchingPursuitTrainingSAE,
            MatchingPursuitTrainingSAEConfig,
        )

        how = {"residual_threshold": 0.0, "stop_on_duplicate_support": False, "decoder_init_norm": 1.0}
        configuration = MatchingPursuitTrainingSAEConfig(d_in=size.m, d_sae=size.n, max_iterations=size.k, **how)
        self.sae = MatchingPursuitTrainingSAE(configuration)
        self.sae.load_state_dict({**self.sae.state_dict(), "W_dec": _start(size, seed)})
        self.optimiser = _adam(list(self.sae.parameters()))

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loss, out = self._forward(x)
        (found,) = torch.autograd.grad(loss, [self.sae.W_dec])
        return out.detach(), found

    @classmethod
    def installed(cls) -> bool:
        """Whether the package is there, in a release that has it."""
        return super().installed() and hasattr(importlib.import_module(cls.package), "MatchingPursuitTrainingSAE")


class Sparsify(Trained):
    """``SparseCoder``, stepped as its trainer does, with Adam."""

    name, package = "sparsify", "sparsify"

    def __init__(self, size: Size, x: Tensor, seed: int, device: torch.device = CPU) -> None:
        from sparsify import SparseCoder, SparseCoderConfig  # pyright: ignore[reportMissingImports]

        self.sae = SparseCoder(size.m, SparseCoderConfig(num_latents=size.n, k=size.k))
        weight = _start(size, seed)
        with torch.no_grad():
            self.sae.encoder.weight.copy_(weight)
            self.sae.W_dec.copy_(weight)
        self.optimiser = _adam(list(self.sae.parameters()))

    def step(self, x: Tensor) -> None:
        loss = self.sae(x).fvu
        self.optimiser.zero_grad()
        loss.backward()
        self.sae.remove_gradient_parallel_to_decoder_directions()
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self.optimiser.step()
        self.sae.set_decoder_norm_to_unit_norm()

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.sae(x).sae_out
        loss = (out - x).square().sum() / len(x)
        encoder, decoder = torch.autograd.grad(loss, [self.sae.encoder.weight, self.sae.W_dec])
        return out.detach(), encoder + decoder


CONTENDERS: tuple[type[Trained], ...] = (Ours, Dense, SAELens, SAELensSparse, Sparsify)


def pursuit_faults(size: Size, x: Tensor, seed: int) -> list[str]:
    """Where matching pursuit of ours and SAELens's differ, and whether OMP, with the same k, leaves a larger error."""
    some = x[:COMPARED]
    theirs = SAELensMatchingPursuit
    first = OursMatchingPursuit(size, x, seed)
    kinds = [theirs] if theirs.installed() else []
    apart = answers_apart(kinds, size, x, seed, CPU, ours=OursMatchingPursuit)
    stepwise, best = (float((kind.gradient(some)[0] - some).norm()) for kind in (first, OursOMP(size, x, seed)))
    return (
        apart if best <= stepwise else [*apart, f"{size.text}: OMP leaves {best:.4g}, matching pursuit {stepwise:.4g}"]
    )


def _recipe(size: Size, seed: int) -> Training:
    return Training(d=size.d, n=size.n, k=size.k, learning_rate=RATE, steps=1_000_000, seed=seed)


def _start(size: Size, seed: int) -> Tensor:
    """The untrained expander decoder as a matrix (n, m)."""
    sae = _recipe(size, seed).build(size.m)
    assert sae.rows is not None
    return _spread(sae.weight.detach(), sae.rows, size.m)


def _spread(values: Tensor, rows: Tensor, m: int) -> Tensor:
    return values.new_zeros(len(values), m).scatter(1, rows.long(), values)


def _adam(parameters: list[torch.nn.Parameter]) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=RATE, fused=True)
