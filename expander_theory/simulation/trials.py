"""Trials, block by block: (task, block) alone decides which instances are drawn and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from expander_theory.base import Plugin, require, require_int, stream
from expander_theory.dictionaries import Ensemble, Floats
from expander_theory.simulation.problems import CodeLaw, Noise, PlantedCodes, planted_codes
from expander_theory.simulation.recovery import (
    LARGEST_ERROR,
    Outcomes,
    recover_planted,
    recovered,
    signals_of,
    solver_named,
)
from expander_theory.simulation.tasks import KERNEL_VERSION, Success, Task
from expander_theory.solvers import Prepared, Recovery

__all__ = [
    "KERNEL_VERSION", "LARGEST_ERROR", "Block", "CodeLaw", "Ensemble", "Noise", "PlantedCodes", "Success", "Task",
    "recovered", "run_block", "signals_of",
]  # fmt: skip

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
        InvalidFile: the file of the dictionary, the codes or the firing rates is missing or has changed.
        PluginFailed: a user's function returned what its protocol does not allow.
    """
    block = require_int("block", block)
    require(block >= 0, "block", block, "must be at least 0")
    size, n = task.block_size, task.ensemble.n
    planted = planted_codes(task.codes, n, task.k, size, seed=stream(task.instance_id, block, _CODES))
    noise = stream(task.instance_id, block, _NOISE)
    criterion = task.success.plugin
    whole = Outcomes(task.k, np.empty(size, np.int64), np.empty(size), np.empty(size if criterion else 0, np.bool_))
    for prepared, part in _dictionaries(task, block):
        found = recover_planted(
            prepared, planted[part], partial(_solve, task), noise=task.noise, seed=noise, criterion=criterion
        )
        whole.hits[part], whole.errors[part] = found.hits, found.errors
        if criterion:
            whole.met[part] = found.met
    outcome = "".join("1" if s else "0" for s in whole.successes(task.success))
    if task.success.early_stop:
        return Block(outcome, None, None)
    return Block(outcome, float(whole.hits.mean() / task.k), float(whole.errors.mean()))


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


def _solve(task: Task, prepared: Prepared, signals: Floats, codes: PlantedCodes) -> Recovery:
    """The task's solver on signals of one dictionary, whose planted codes are known."""
    assert isinstance(task.solver, str | Plugin)  # as a task keeps it
    return solver_named(task.solver, early_stop=task.success.early_stop)(prepared, signals, codes)
