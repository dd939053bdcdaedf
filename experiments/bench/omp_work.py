"""Work models: what each backend of our OMP must read, update and multiply for one signal, and the time that takes.

Measured rates stand beside what the models allow (:func:`measure_backends`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.masks import Mask
from expander_theory.solvers import TILE_BYTES, Backend
from experiments.bench.driver import Call, Contender, measure
from experiments.bench.machine import Rates
from experiments.bench.omp_peers import ours
from experiments.bench.sizes import BACKEND_SHARES, Problem
from experiments.bench.table import markdown, rate

HALF_BYTES = WORD_BYTES = 2
SAMPLE = 16
"""Signals whose chosen atoms the work models see."""


@dataclass(frozen=True)
class Work:
    """Work for one signal, the least squares left out.

    Attributes:
        reads: pairs (bytes read, bytes of the array that they come back to).
        updates: scattered y[i] += x.
        gathers: scalar loads y[i].
        flops: of matrix products.
        memory: bytes of what is set up once.
        setup_flops: of what is set up once.
    """

    reads: tuple[tuple[float, float], ...] = ()
    updates: float = 0
    gathers: float = 0
    flops: float = 0
    memory: float = 0
    setup_flops: float = 0

    @property
    def text(self) -> str:
        """The largest quantities, for a table."""
        parts = [(sum(amount for amount, _ in self.reads), "B read"), (self.updates, "updates")]
        parts += [(self.gathers, "loads"), (self.flops, "flop")]
        return ", ".join(f"{amount:.3g} {unit}" for amount, unit in parts if amount)

    def seconds(self, rates: Rates, dtype: np.dtype[Any]) -> float:
        """Time at the measured rates, nothing overlapped."""
        reading = sum(rates.read_seconds(amount, size) for amount, size in self.reads)
        moving = self.updates / rates.scatter + self.gathers / rates.gather
        return reading + moving + self.flops / rates.product[dtype.name]


def tile(problem: Problem, chosen: NDArray[np.integer]) -> Work:
    """k n d vector loads of all lanes from the (m, lanes) residuals in 16-bit integers: 2 bytes each for one signal."""
    size = problem.size
    tile_bytes = size.m * TILE_BYTES * WORD_BYTES // problem.dtype.itemsize
    return Work(reads=((size.k * size.n * size.d * WORD_BYTES, tile_bytes),))


def push(problem: Problem, chosen: NDArray[np.integer]) -> Work:
    """One pass of the tile, then an update for every nonzero of the rows of every atom: the least that is pushed."""
    size, mask = problem.size, problem.dictionary.mask
    updates = float(np.mean([entries_met(mask, atoms[:-1]) for atoms in chosen]))  # the last step pushes nothing
    return Work(reads=((size.n * size.d * problem.dtype.itemsize, size.m * TILE_BYTES),), updates=updates)


def gram(problem: Problem, chosen: NDArray[np.integer]) -> Work:
    """W^T h as a product, then n k^2 / 2 multiply-adds with half-precision rows of G, were no step's pass saved."""
    size = problem.size
    rows = size.k * size.n * HALF_BYTES
    setup = {"memory": size.n**2 * (problem.dtype.itemsize + HALF_BYTES), "setup_flops": size.m * size.n**2}
    return Work(reads=((rows * size.k / 2, rows),), flops=2 * size.m * size.n, **setup)


def plain(problem: Problem, chosen: NDArray[np.integer]) -> Work:
    """k n d scalar loads from one residual."""
    size = problem.size
    return Work(gathers=size.k * size.n * size.d)


MODELS: dict[Backend, Callable[[Problem, NDArray[np.integer]], Work]] = {
    "tile": tile,
    "push": push,
    "gram": gram,
    "plain": plain,
}
"""By backend for masked dictionaries; each takes a problem, and for some of its signals the atoms in the order of
selection (batch, k)."""


def entries_met(mask: Mask, atoms: NDArray[np.integer]) -> int:
    """Nonzeros in the rows of atoms, once for each atom; -1 is none."""
    return int(mask.row_degrees[mask.rows[atoms[atoms >= 0]]].sum())


@dataclass(frozen=True)
class BackendRate:
    """One backend on one problem.

    Attributes:
        backend: of ours.
        work: for one signal, in words.
        batch: signals in a call.
        allowed: signals/s by the work model at the machine's rates.
        measured: signals/s, set up and compiled; 0 where it was not run for want of memory.
    """

    backend: str
    work: str
    batch: int
    allowed: float
    measured: float


def measure_backends(
    problem: Problem, atoms: NDArray[np.integer], rates: Rates, memory: float, repeats: int
) -> list[BackendRate]:
    """Every backend; one that sets up more bytes than ``memory`` is modelled and not run.

    Args:
        atoms: chosen atoms of the first signals, in the order of selection, (batch, k).
    """
    works: dict[Backend, Work] = {backend: model(problem, atoms[:SAMPLE]) for backend, model in MODELS.items()}
    batches: dict[Backend, int] = {backend: -(-len(problem.signals) // BACKEND_SHARES[backend]) for backend in works}
    contenders = [
        Contender(backend, batches[backend], partial(_set_up, problem, backend, batches[backend]))
        for backend, work in works.items()
        if work.memory <= memory
    ]
    measured = {one.name: one.batch / one.least("call") for one in measure(contenders, repeats)[0]}
    return [
        BackendRate(one, work.text, batches[one], 1 / work.seconds(rates, problem.dtype), measured.get(one, 0.0))
        for one, work in works.items()
    ]


def _set_up(problem: Problem, backend: Backend, batch: int) -> dict[str, Call]:
    solve = ours(backend).start(problem)
    solve(batch)
    return {"call": lambda: solve(batch)}


def backends_table(found: Sequence[BackendRate]) -> str:
    """Per backend: work for one signal, the signals/s that it would take at the machine's rates, and those measured.

    A guide and no bound: kernels that load wider vectors than the measuring loop read faster than it.
    """
    rows = []
    for one in found:
        measured = [rate(one.measured), f"{100 * one.measured / one.allowed:.0f} %"] if one.measured else ["", ""]
        rows.append([one.backend, one.work, f"{one.batch:,}", rate(one.allowed), *measured])
    return markdown(rows, ("backend", "work for one signal", "batch", "signals/s at these rates", "measured", "share"))
