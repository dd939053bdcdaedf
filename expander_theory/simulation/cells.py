"""Results of a sweep as records of its ledger, and back as counts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from expander_theory.base import ExpanderTheoryError, InvalidFile, names_plugin
from expander_theory.dictionaries import Ensemble
from expander_theory.results import BlockRecord, FailureRecord, TaskRecord, records_of
from expander_theory.simulation.problems import CodeLaw, Noise
from expander_theory.simulation.tasks import KERNEL_VERSION, Success, Task, content, task_id
from expander_theory.simulation.trials import Block
from expander_theory.statistics import (
    Boundary,
    Cluster,
    bootstrap_boundary,
    clopper_pearson_interval,
    effective_trials,
    fit_boundary,
    goodness_of_fit,
    variation,
    wilson_interval,
)

Row = dict[str, Any]


class InvalidRecord(ExpanderTheoryError):
    """A record of a ledger that is no result of this release's sweeps, or that another one contradicts."""


@dataclass(frozen=True)
class Cell:
    """Counts of one task.

    Trials on one dictionary are independent draws of codes, not of dictionaries (THEORY.md STAT-2). Where each has a
    dictionary of its own (``dictionaries`` "fresh", one signal each) they are independent draws from the ensemble, and
    binomial intervals are about its rate. On one dictionary ("cell", "fixed") binomial intervals are about the rate
    of that dictionary alone, and say nothing about others. In between, with several signals to each of several
    dictionaries, they are about neither: trials count for as many as :attr:`effective_trials`.

    Attributes:
        task: what was simulated.
        trials: in the blocks that are known.
        successes: among them.
        clusters: the same counts for each dictionary, equal ones together, increasing.
        fraction: mean share of planted atoms found; NaN if not measured.
        error: mean relative error of the codes; NaN if not measured.
        quarantined: blocks that failed and are left out; if failing depends on the instance, the rate is biased.
    """

    task: Task
    trials: int
    successes: int
    clusters: tuple[Cluster, ...]
    fraction: float
    error: float
    quarantined: int = 0

    @property
    def rate(self) -> float:
        """successes / trials; NaN without trials."""
        return self.successes / self.trials if self.trials else math.nan

    @property
    def interval_of(self) -> str:
        """What the rate and its intervals are about: the "ensemble", or "this dictionary"."""
        return "ensemble" if self.task.dictionaries == "fresh" else "this dictionary"

    @property
    def effective_trials(self) -> float:
        """Independent trials that would fix the rate (of what :attr:`interval_of` says) as well as these."""
        return effective_trials(self.clusters) if self.interval_of == "ensemble" else float(self.trials)

    @property
    def effective_successes(self) -> float:
        """Successes scaled as the effective trials are: the same share of these."""
        return self.effective_trials * self.rate if self.trials else 0.0


def task_record(task: Task) -> TaskRecord:
    """What a task is, written once; files by their hashes."""
    return TaskRecord(task.id, content(task), KERNEL_VERSION)


def block_record(task: Task, block: int, result: Block) -> BlockRecord:
    """The results of one block."""
    return BlockRecord(task.id, block, result.outcome, result.fraction, result.error)


def failure_record(task: Task, block: int, error: str, attempts: int, traceback: str = "") -> FailureRecord:
    """A block that was given up after some attempts."""
    return FailureRecord(task.id, block, error, attempts, traceback or None)


def tasks_of(records: Iterable[Any]) -> dict[str, Task]:
    """The tasks that records name, by id, in order of first appearance.

    An id of an older kernel version stays what it was; its task is the one of the same content.

    Raises:
        InvalidRecord: content that is no task, or does not belong to its id; or one task in two kernel versions, whose
            results do not mix.
    """
    found: dict[str, Task] = {}
    for record in records_of(records, TaskRecord):
        if record.task not in found:
            found[record.task] = _task(record)
    if len(set(found.values())) < len(found):
        raise InvalidRecord("one task has results of two kernel versions, which do not mix: run it in a new folder")
    return found


def _task(record: TaskRecord) -> Task:
    name, version = record.task, record.kernel
    try:
        values = dict(record.content)
        for part, kind in (("ensemble", Ensemble), ("codes", CodeLaw), ("noise", Noise), ("success", Success)):
            kept = dict(values[part])
            for place in ("file", "firing"):  # a record says no path, and none is followed
                kept.pop(place, None)
            _require_named(kept.get("plugin"))
            values[part] = kind(**kept)
        if not isinstance(values["solver"], str) or names_plugin(values["solver"]):
            _require_named(values["solver"])
        task = Task(**values)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, InvalidFile) as error:
        raise InvalidRecord(f"task {name[:12]}... cannot be read by this release: {error}") from None
    if version is None or task_id(task, version) != name:
        raise InvalidRecord(f"task {name[:12]}... is damaged: its content does not belong to its id")
    return task


def _require_named(plugin: Any) -> None:
    """A function in a record is a name and a hash: a text would be looked up, and run."""
    if plugin is not None and not isinstance(plugin, dict):
        raise TypeError("a function is recorded by name and hash")


def blocks_of(records: Iterable[Any]) -> dict[str, dict[int, Block]]:
    """The results of blocks, by task id and block; of a block that was run twice, the first.

    Raises:
        InvalidRecord: a block with two outcomes. (Its mean error may differ in the last digits between machines.)
    """
    found: dict[str, dict[int, Block]] = defaultdict(dict)
    for record in records_of(records, BlockRecord):
        block = Block(record.outcome, record.fraction, record.error)
        first = found[record.task].setdefault(record.block, block)
        if first.outcome != block.outcome:
            raise InvalidRecord(
                f"block {record.block} of task {record.task[:12]}... has two different outcomes: "
                "they come from machines or libraries that compute differently, or from an altered file"
            )
    return dict(found)


def cells(records: Sequence[Any]) -> list[Cell]:
    """Counts of every task that records name, in order of first appearance.

    Raises:
        InvalidRecord: as :func:`tasks_of` and :func:`blocks_of`, or a block of another size than its task's.
    """
    tasks, blocks = tasks_of(records), blocks_of(records)
    failed: dict[str, set[int]] = defaultdict(set)
    for record in records_of(records, FailureRecord):
        failed[record.task].add(record.block)
    nameless = [id for id in {*blocks, *failed} if id not in tasks]
    if nameless:
        raise InvalidRecord(f"results of task {nameless[0][:12]}..., whose content is nowhere recorded")
    return [_cell(task, blocks.get(id, {}), failed[id] - {*blocks.get(id, {})}) for id, task in tasks.items()]


def require_whole(task: Task, blocks: Mapping[int, Block]) -> None:
    """Raise :class:`InvalidRecord` unless every block has an outcome for each of the task's trials."""
    for block, result in blocks.items():
        if len(result.outcome) != task.block_size or not set(result.outcome) <= {"0", "1"}:
            raise InvalidRecord(f"block {block} of task {task.id[:12]}... is damaged: its outcome is {result.outcome}")


def _cell(task: Task, blocks: dict[int, Block], failed: set[int]) -> Cell:
    require_whole(task, blocks)
    outcome = "".join(blocks[block].outcome for block in sorted(blocks))
    shared = task.signals_per_dictionary if task.dictionaries == "fresh" else max(1, len(outcome))
    counts = Counter(outcome.count("1", first, first + shared) for first in range(0, len(outcome), shared))
    groups = tuple(sorted(Cluster(shared, successes, count) for successes, count in counts.items()))
    fraction, error = _mean(b.fraction for b in blocks.values()), _mean(b.error for b in blocks.values())
    return Cell(task, len(outcome), outcome.count("1"), groups, fraction, error, len(failed))


def _mean(values: Iterable[float | None]) -> float:
    """Exact up to rounding once, so that it does not depend on the order of the blocks."""
    given = [value for value in values if value is not None]
    return math.fsum(given) / len(given) if given else math.nan


def cell_rows(cells: Sequence[Cell]) -> list[Row]:
    """Cells as rows of a table.

    ``low`` and ``high`` are the 95 % Wilson interval, for plots, ``exact_low`` and ``exact_high`` that of Clopper and
    Pearson, for claims. Both are about what ``interval_of`` names, and rest on ``effective_trials``, which are fewer
    than ``trials`` where several share a fresh dictionary. ``between_sd`` and ``within_sd`` are the parts of
    :func:`expander_theory.statistics.variation`, None where the trials do not tell.
    """
    rows = []
    for cell in cells:
        counts = (cell.effective_successes, cell.effective_trials)
        low, high = wilson_interval(*counts)
        exact_low, exact_high = clopper_pearson_interval(*counts)
        parts = variation(cell.clusters) if cell.trials else None
        rows.append(
            {
                **_names(cell.task, k=cell.task.k),
                "successes": cell.successes,
                "trials": cell.trials,
                "rate": cell.rate,
                "low": float(low),
                "high": float(high),
                "exact_low": float(exact_low),
                "exact_high": float(exact_high),
                "interval_of": cell.interval_of,
                "dictionaries": sum(group.dictionaries for group in cell.clusters),
                "effective_trials": cell.effective_trials,
                "between_sd": parts and parts.between,
                "within_sd": parts and parts.within,
                "fraction": cell.fraction,
                "error": cell.error,
                "quarantined": cell.quarantined,
            }
        )
    return rows


def boundaries(cells: Sequence[Cell]) -> list[Row]:
    """The fitted 50 % point in k/m of tasks that differ in k alone, where there are two sparsities or more.

    ``low`` and ``high`` hold for what ``interval_of`` names: where several signals share a fresh dictionary they are
    the cluster-bootstrap band (with enough dictionaries in each cell, else the fit of the effective counts), otherwise
    the profile interval. ``fit p`` is the p-value of the logistic form, for independent trials.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.trials:
            groups[tuple(getattr(cell.task, f.name) for f in fields(Task) if f.name != "k")].append(cell)
    rows = []
    for group in groups.values():
        task, m = group[0].task, group[0].task.ensemble.m
        if len({cell.task.k for cell in group}) < 2:
            continue
        fit, p_value = _fitted(group, m)
        numbers = {"k/m at 50 %": fit.centre, "low": fit.low, "high": fit.high, "status": fit.status, "fit p": p_value}
        about = "these dictionaries, one a cell" if task.dictionaries == "cell" else group[0].interval_of
        rows.append({**_names(task), **numbers, "interval_of": about})
    return rows


def _fitted(group: Sequence[Cell], m: int) -> tuple[Boundary, float | None]:
    """The boundary of one column, and the p-value of its logistic form where trials are independent."""
    seed = group[0].task.seed
    if group[0].task.signals_per_dictionary > 1:
        each = [(c.task.k / m, g.successes, g.trials) for c in group for g in c.clusters for _ in range(g.dictionaries)]
        band = bootstrap_boundary(*zip(*each, strict=True), seed=seed)
        if band.status != "too_few_dictionaries":
            return band, None
        effective = [(c.task.k / m, c.effective_successes, c.effective_trials) for c in group]
        return fit_boundary(*zip(*effective, strict=True)), None
    counts = tuple(zip(*((c.task.k / m, c.successes, c.trials) for c in group), strict=True))
    fit = goodness_of_fit(*counts, seed=seed)
    return fit_boundary(*counts), None if fit is None else fit.p_value


def _names(task: Task, **k: int) -> Row:
    """What names a task in a table."""
    e = task.ensemble
    values = f"flat {e.flatness:g}" if e.values == "flat" else e.values
    return {
        "family": e.label,
        "values": f"{values} {e.sha256[:8]}" if e.family == "file" else values,
        **{"d": e.d, "m": e.m, "n": e.n},
        **k,
        "codes": task.codes.label,
        "noise": task.noise.label,
        "success": task.success.label,
        "solver": task.solver_label,
        "dictionary": task.dictionaries,
        "precision": task.precision,
        "seed": task.seed,
    }
