"""Trials, block by block: (task, block) alone decides which instances are drawn and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.sampling.planted import combine, compare
from expander_theory.base import require, require_int, stream
from expander_theory.dictionaries import AnyDictionary, Dictionary, Ensemble, Floats
from expander_theory.simulation.problems import CodeLaw, Noise, PlantedCodes, planted_codes
from expander_theory.simulation.tasks import KERNEL_VERSION, Success, Task
from expander_theory.solvers import SOLVERS, Prepared, Recovery, omp

__all__ = [
    "KERNEL_VERSION", "Block", "CodeLaw", "Ensemble", "Noise", "Success", "Task",
    "recovered", "run_block", "signals_of",
]  # fmt: skip

LARGEST_ERROR = 1e6
"""Relative code errors count as at most this: a solver that diverged leaves the mean finite."""

_DICTIONARIES, _CODES, _NOISE, _ONE_DICTIONARY = range(4)  # purposes of streams


@dataclass(frozen=True)
class Block:
    """Results of one block of trials.

    Attributes:
        outcome: one character a trial, "1" for success and "0" for none, in order.
        fraction: mean share of the planted atoms that are in the solver's support; None if trials stop early.
        error: mean of ||x' - x||_2 / ||x||_2, each at most :data:`LARGEST_ERROR`; None if trials stop early.
    """

    outcome: str
    fraction: float | None
    error: float | None


def run_block(task: Task, block: int) -> Block:
    """Trials block * size, ..., (block + 1) * size - 1 of a task, size = ``task.block_size``.

    The result depends on the task and the block only: not on the order of blocks, the process, or what ran before.

    Raises:
        InvalidArgument: block below 0, or a design too large for its construction.
        InvalidFile: the file of the dictionary or of the firing rates is missing or has changed.
    """
    block = require_int("block", block)
    require(block >= 0, "block", block, "must be at least 0")
    size, n = task.block_size, task.ensemble.n
    planted = planted_codes(task.codes, n, task.k, size, seed=stream(task.instance_id, block, _CODES))
    noise = stream(task.instance_id, block, _NOISE)
    place = np.full(n, -1, np.int32)
    hits, errors = np.empty(size, np.int64), np.empty(size)
    for prepared, part in _dictionaries(task, block):
        codes = planted[part]
        signals = task.noise.add(signals_of(prepared.dictionary, codes), seed=noise).astype(task.dtype, copy=False)
        found = _solve(task, prepared, signals, codes)
        compare(
            codes.supports, codes.values, found.indices, found.coefficients, place, LARGEST_ERROR,
            hits[part], errors[part],
        )  # fmt: skip
    outcome = "".join("1" if s else "0" for s in _successes(task, hits, errors))
    if task.success.early_stop:
        return Block(outcome, None, None)
    return Block(outcome, float(hits.mean() / task.k), float(errors.mean()))


def _dictionaries(task: Task, block: int) -> Iterator[tuple[Prepared, slice]]:
    """The dictionaries of a block, in the task's precision, each with its trials in the block."""
    if task.dictionaries == "cell":
        yield _one_dictionary(task.ensemble, task.instance_id, task.dtype), slice(None)
    elif task.dictionaries == "fixed":
        yield _one_dictionary(task.ensemble, task.fixed_id, task.dtype), slice(None)
    else:
        rng, shared = stream(task.instance_id, block, _DICTIONARIES), task.signals_per_dictionary
        for first in range(0, task.block_size, shared):
            yield Prepared(task.ensemble.draw(rng, task.dtype), task.dtype), slice(first, first + shared)


def _one_dictionary(ensemble: Ensemble, key: str, dtype: type[np.floating[Any]]) -> Prepared:
    """The dictionary of a key, drawn once while those used last fit :data:`_KEPT_BYTES`: some take seconds to draw."""
    name = (key, dtype)
    drawn = _kept.pop(name, None)
    if drawn is None:
        drawn = Prepared(ensemble.draw(stream(key, 0, _ONE_DICTIONARY), dtype), dtype)
    _kept[name] = drawn
    while len(_kept) > 1 and sum(kept.nbytes for kept in list(_kept.values())) > _KEPT_BYTES:
        _kept.pop(next(iter(_kept)), None)
    return drawn


_KEPT_BYTES = 2**28
_kept: dict[tuple[str, type], Prepared] = {}  # in the order of use


def signals_of(dictionary: AnyDictionary, codes: PlantedCodes) -> NDArray[np.float64]:
    """W x of planted codes, (batch, m), in float64 whatever the dictionary's dtype; O(k d) a code, O(k m) dense.

    Raises:
        InvalidArgument: supports and values of different shapes, or a column that the dictionary has not.
    """
    supports = codes.supports
    paired = supports.ndim == 2 and supports.shape == codes.values.shape
    require(paired, "codes", f"of shapes {supports.shape}, {codes.values.shape}", "must be two (batch, k) arrays")
    inside = supports.size == 0 or (supports.min() >= 0 and supports.max() < dictionary.n)
    require(bool(inside), "codes.supports", "array with a column out of range", f"must lie in 0..{dictionary.n - 1}")
    out = np.zeros((len(codes.supports), dictionary.m))
    rows = dictionary.mask.rows if isinstance(dictionary, Dictionary) else np.empty((0, 0), np.int32)
    combine(rows, dictionary.values, codes.supports, codes.values, out)
    return out


def _solve(task: Task, prepared: Prepared, signals: Floats, codes: PlantedCodes) -> Recovery:
    """The task's solver on signals of one dictionary, whose planted codes are known."""
    if task.solver == "omp":
        return omp(prepared, signals, task.k, planted=codes.supports if task.success.early_stop else None)
    return SOLVERS[task.solver](prepared.dictionary, signals, task.k)


def _successes(task: Task, hits: NDArray[np.int64], errors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A solver's support has at most k atoms, so it is the planted one where it has k of these."""
    if task.success.measure == "support":
        return hits == task.k
    if task.success.measure == "fraction":
        return hits / task.k >= task.success.threshold
    return errors <= task.success.threshold


def recovered(dictionary: AnyDictionary, codes: Floats, k: int, solver: str = "omp") -> NDArray[np.bool_]:
    """Whether the solver finds exactly the support of each k-sparse code from W x, shape (batch,)."""
    found = SOLVERS[solver](dictionary, dictionary.matvec(codes), k).supports
    planted = np.sort(np.argpartition(-np.abs(codes), k - 1, axis=1)[:, :k], axis=1)
    return (found == planted).all(axis=1)
