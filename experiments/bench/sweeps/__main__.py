"""Trials a second of sweeps of exact support, beside the same loop in NumPy. ``python -m experiments.bench.sweeps``.

A trial draws a mask, its signs and a planted code, forms the signal, runs OMP, and compares supports; both stop a trial
at the first wrong atom. The loop is also given instances of the sweep, untimed, in float64, and must come to its
outcomes. Prints a Markdown table; exits with code 1 where an outcome differs. Processor time of one thread, the best of
the repeats.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from expander_theory.base import generator, stream
from expander_theory.dictionaries import Dictionary, Ensemble
from expander_theory.simulation import Success, Task, planted_codes, run_block
from experiments.bench.machine import headline
from experiments.bench.table import markdown, rate

Floats = NDArray[np.floating[Any]]

SIZES = ((64, 256, 8, 8), (256, 1024, 7, 40), (512, 4096, 7, 64), (1024, 4096, 8, 128))
"""m, n, d, k: about where half of the trials succeed, but the first."""


@dataclass(frozen=True)
class SweepBenchmark:
    """Time sweeps of exact support beside the same loop in plain NumPy."""

    blocks: int = 20
    """Blocks of 25 trials of the sweep; the loop gets one in twenty."""
    repeats: int = 3
    """Of each, interleaved."""
    seed: int = 0
    """Of all that is random."""


def main(asked: SweepBenchmark) -> int:
    """Print the table; 1 if an outcome differs."""
    print(f"{headline()}\n")
    rows, differ = [], 0
    for m, n, d, k in SIZES:
        task = Task(Ensemble("uniform", m, n, d), k, success=Success(early_stop=True), seed=asked.seed)
        rng = generator(asked.seed, "NumPy loop")
        few = 25 * max(1, asked.blocks // 20)
        sweep = partial(_sweep, task, asked.blocks)
        loop = partial(_loop, (m, n, d, k), rng, few)
        successes = sweep().count("1")
        spent = [(_spent(sweep), _spent(loop)) for _ in range(asked.repeats)]
        ours, theirs = (
            count / min(times) for count, times in zip((25 * asked.blocks, few), zip(*spent, strict=True), strict=True)
        )
        exact = replace(task, precision="float64")  # so that rounding decides nothing: the instances are the same
        wrong = sum(a != b for a, b in zip(run_block(exact, 0).outcome, _again(exact, 0), strict=True))
        differ += wrong
        share = f"{successes / (25 * asked.blocks):.2f}"
        rows.append(
            [f"{m}, {n}, {d}, {k}", share, rate(ours), rate(theirs), f"{ours / theirs:.1f}", f"{25 - wrong}/25"]
        )
    print(markdown(rows, ("m, n, d, k", "success", "ours, trials/s", "NumPy, trials/s", "ratio", "outcomes agree")))
    return 1 if differ else 0


def _sweep(task: Task, blocks: int) -> str:
    return "".join(run_block(task, block).outcome for block in range(blocks))


def _loop(size: tuple[int, int, int, int], rng: np.random.Generator, trials: int) -> list[bool]:
    return [numpy_trial(*size, rng) for _ in range(trials)]


def _spent(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def numpy_trial(m: int, n: int, d: int, k: int, rng: np.random.Generator) -> bool:
    """One trial from nothing, as one would write it."""
    rows = np.argpartition(rng.random((n, m), np.float32), d, axis=1)[:, :d]
    values = (rng.integers(0, 2, (n, d)) * 2 - 1).astype(np.float32) / np.float32(np.sqrt(d))
    support = rng.choice(n, k, replace=False)
    return numpy_omp(rows, values, m, support, rng.standard_normal(k))


def numpy_omp(
    rows: NDArray[np.integer], values: Floats, m: int, support: NDArray[np.integer], coefficients: NDArray[np.float64]
) -> bool:
    """Whether OMP finds the support: correlations by a gather, least squares by the normal equations, early stop."""
    h = np.zeros(m)
    np.add.at(h, rows[support], values[support] * coefficients[:, None])
    h = h.astype(values.dtype)
    planted, residual = set(support.tolist()), h.copy()
    columns = np.zeros((m, len(support)), values.dtype)
    for step in range(len(support)):
        scores = np.abs((values * residual[rows]).sum(axis=1))
        atom = int(scores.argmax())
        if atom not in planted:
            return False
        columns[rows[atom], step] = values[atom]
        chosen = columns[:, : step + 1]
        residual = h - chosen @ np.linalg.lstsq(chosen, h, rcond=None)[0]
    return True


def _again(task: Task, block: int) -> str:
    """The outcomes of the loop on the instances of a block of the sweep."""
    size = task.block_size
    codes = planted_codes(task.codes, task.ensemble.n, task.k, size, seed=stream(task.instance_id, block, 1))
    rng, outcome = stream(task.instance_id, block, 0), ""
    for trial in range(size):
        w = task.ensemble.draw(rng, task.dtype)
        assert isinstance(w, Dictionary)
        found = numpy_omp(w.mask.rows, w.values, w.m, codes.supports[trial], codes.values[trial])
        outcome += "1" if found else "0"
    return outcome


if __name__ == "__main__":
    sys.exit(main(tyro.cli(SweepBenchmark)))
