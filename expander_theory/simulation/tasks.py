"""What a recovery trial is: a task names it completely, and its content decides every random number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from expander_theory.base import Plugin, names_plugin, require, require_choice, require_int, require_real, require_seed
from expander_theory.dictionaries import Ensemble
from expander_theory.results import canonical_json
from expander_theory.simulation.problems import CodeLaw, Noise
from expander_theory.solvers import SOLVERS

KERNEL_VERSION = "1"
"""Part of every task's id. To be raised by each change that may alter the outcome of some trial: in what is drawn
(masks, values, codes, noise, streams), in a solver, or in how success is measured. Results of different versions are
then different tasks, and never pooled."""

MEASURES = ("support", "fraction", "error", "user")
DICTIONARIES = ("fresh", "cell", "fixed")
PRECISIONS = ("float32", "float64")
BLOCK = 25
"""Least number of trials in a block, where building its generators costs little against the trials."""


@dataclass(frozen=True)
class Success:
    """When a trial counts as a success, for a planted code x and the solver's code x'.

    Attributes:
        measure: "support": x' has exactly the support of x. "fraction": at least ``threshold`` of the atoms of x are
            in the support of x'. "error": ||x' - x||_2 / ||x||_2 <= ``threshold``. "user": as a function of the
            user decides.
        threshold: in (0, 1] for "fraction", above 0 for "error" and at most 1 (where the zero code would do), 0 for
            "support" and "user".
        early_stop: end a trial at the first atom outside the planted support, where it has failed: the same outcomes
            for less work, but neither the fraction of atoms found nor the error of the code is measured. For
            "support", by the solver "omp".
        plugin: the function of "user" (a :class:`expander_theory.simulation.UserCriterion`), or its text
            ``package.module:function`` or ``path/to/file.py:function``.

    Raises:
        InvalidArgument: an unknown measure, or a threshold or early stop that does not go with it.
    """

    measure: str = "support"
    threshold: float = 0.0
    early_stop: bool = False
    plugin: Plugin | None = None

    def __post_init__(self) -> None:
        require_choice("measure", self.measure, MEASURES)
        object.__setattr__(self, "threshold", require_real("threshold", self.threshold))
        t = self.threshold
        allowed = f"must be False for success by {self.measure}"
        require(self.measure == "support" or not self.early_stop, "early_stop", self.early_stop, allowed)
        if self.plugin is not None:
            object.__setattr__(self, "plugin", Plugin.of("plugin", self.plugin))
        required = "must be a function for the measure 'user', and None for all others"
        require((self.plugin is not None) == (self.measure == "user"), "plugin", self.plugin, required)
        if self.measure in ("support", "user"):
            allowed = "must be 0 (not given) for the exact support" if self.measure == "support" else "must be 0"
            require(t == 0, "threshold", t, allowed)
        else:
            require(0 < t <= 1, "threshold", t, f"must be in (0, 1] for success by {self.measure}")

    @property
    def label(self) -> str:
        """Measure and threshold in a few words."""
        if self.plugin is not None:
            return self.plugin.label
        return {"support": "exact support"}.get(self.measure, f"{self.measure} {self.threshold:g}")


_MOST_SHARED = 1_000_000  # the trials of a block are in memory together


@dataclass(frozen=True)
class Task:
    """One cell of a sweep: planted k-sparse codes x on dictionaries W of one ensemble, signals W x + noise.

    The solver is given k. Trials on one dictionary are independent draws of codes and noise, but not of dictionaries
    (THEORY.md STAT-2): the rate over the ensemble is what "fresh" with one signal per dictionary estimates best.

    Attributes:
        ensemble: the dictionaries.
        k: sparsity of the planted codes, 1..min(m, n).
        codes: their law.
        noise: on the signals.
        success: what counts as one.
        solver: name in :data:`expander_theory.solvers.SOLVERS`, or a user's: a function
            (:class:`expander_theory.solvers.UserSolver`), or its text ``package.module:function`` or
            ``path/to/file.py:function``; it is kept as a plugin.
        dictionaries: "fresh": trial t has dictionary t // signals_per_dictionary. "cell": one for all trials of the
            task. "fixed": one for all tasks with the same ensemble and seed, whatever k. A dictionary from a file is
            always "fixed".
        signals_per_dictionary: consecutive trials that share a "fresh" dictionary; 1 otherwise.
        precision: "float32" or "float64", of the dictionary, the signals (computed in float64 and rounded), the solver.
        seed: non-negative.

    Raises:
        InvalidArgument: a part out of range, or parts that do not go together.
    """

    ensemble: Ensemble
    k: int
    codes: CodeLaw = field(default_factory=CodeLaw)
    noise: Noise = field(default_factory=Noise)
    success: Success = field(default_factory=Success)
    solver: str | Plugin | Callable[..., Any] = "omp"
    dictionaries: str = "fresh"
    signals_per_dictionary: int = 1
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("ensemble", Ensemble), ("codes", CodeLaw), ("noise", Noise), ("success", Success)):
            part = getattr(self, name)
            require(isinstance(part, kind), name, repr(part), f"must be of type {kind.__name__}")
        for name in ("k", "signals_per_dictionary"):
            object.__setattr__(self, name, require_int(name, getattr(self, name)))
        limit = min(self.ensemble.m, self.ensemble.n)
        require(1 <= self.k <= limit, "k", self.k, f"must be between 1 and min(m, n) = {limit}")
        self.codes.require_fits(self.ensemble.n, self.k)
        object.__setattr__(self, "solver", solver_or_plugin("solver", self.solver))
        stops, allowed = self.success.early_stop, f"must be False with the solver {self.solver_label}"
        require(not stops or self.solver == "omp", "early_stop", stops, allowed)
        require_choice("dictionaries", self.dictionaries, DICTIONARIES)
        require_choice("precision", self.precision, PRECISIONS)
        if self.ensemble.family == "file":
            require(self.dictionaries == "fixed", "dictionaries", self.dictionaries, "must be fixed for a file's one")
        shared = self.signals_per_dictionary
        require(1 <= shared <= _MOST_SHARED, "signals_per_dictionary", shared, f"must be between 1 and {_MOST_SHARED}")
        allowed = f"must be 1 where the dictionaries are {self.dictionaries}"
        require(shared == 1 or self.dictionaries == "fresh", "signals_per_dictionary", shared, allowed)
        require_seed(self.seed)
        object.__setattr__(self, "seed", int(self.seed))

    @cached_property
    def id(self) -> str:
        """SHA-256 (hex) of the task's content and :data:`KERNEL_VERSION`: its name in ledgers."""
        return task_id(self)

    @cached_property
    def instance_id(self) -> str:
        """Hash of the task without solver, success and precision: the key of its random streams.

        Tasks that differ in these alone see the same dictionaries, codes and noise, so that they can be compared
        trial by trial (THEORY.md STAT-2).
        """
        return _digest(KERNEL_VERSION, content(self), ("solver", "success", "precision"))

    @cached_property
    def fixed_id(self) -> str:
        """Key of the one dictionary of all "fixed" tasks of this ensemble and seed."""
        return _digest(KERNEL_VERSION, {"ensemble": self.ensemble.content, "seed": self.seed})

    @property
    def solver_label(self) -> str:
        """The solver in tables; of a user's function its name and the beginning of its hash."""
        return self.solver.label if isinstance(self.solver, Plugin) else str(self.solver)

    @property
    def block_size(self) -> int:
        """Trials per block, the unit of randomness, scheduling and records: whole dictionaries, at least :data:`BLOCK`
        trials."""
        shared = self.signals_per_dictionary
        return -(-BLOCK // shared) * shared

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """The numpy type of ``precision``."""
        return np.float32 if self.precision == "float32" else np.float64

    def clusters(self, trials: int) -> int:
        """How many different dictionaries the first ``trials`` trials have."""
        return -(-trials // self.signals_per_dictionary) if self.dictionaries == "fresh" else min(1, trials)


def solver_or_plugin(argument: str, given: Any) -> str | Plugin:
    """A name of :data:`expander_theory.solvers.SOLVERS` as it is, a user's function or its place as a plugin.

    Raises:
        InvalidArgument: neither.
        InvalidFile: a file that cannot be read or run.
    """
    if isinstance(given, str) and not names_plugin(given):
        allowed = f"must be one of {', '.join(SOLVERS)}, or package.module:function, or path/to/file.py:function"
        require(given in SOLVERS, argument, repr(given), allowed)
        return given
    return Plugin.of(argument, given)


def content(task: Task) -> dict[str, Any]:
    """What names a task, as JSON-able nested dicts: all its fields, but files and functions by their hashes alone."""
    return {f.name: _content(getattr(task, f.name)) for f in fields(task)}


_LATER = ("plugin", "file_sha256")
"""Fields that are left out where they are empty, so that tasks keep the names that they had without them."""


def _content(value: Any) -> Any:
    if isinstance(value, Ensemble | Plugin):
        return value.content
    if isinstance(value, CodeLaw | Noise | Success):
        named = {f.name: _content(getattr(value, f.name)) for f in fields(value) if f.compare}
        return {name: inner for name, inner in named.items() if inner or name not in _LATER}
    return value


def task_id(task: Task, version: str = KERNEL_VERSION) -> str:
    """The id that a task has, or had, in a given version of the kernels."""
    return _digest(version, content(task))


def _digest(version: str, values: dict[str, Any], without: tuple[str, ...] = ()) -> str:
    kept = {name: value for name, value in values.items() if name not in without}
    return hashlib.sha256(canonical_json({"kernel version": version, **kept}).encode()).hexdigest()
