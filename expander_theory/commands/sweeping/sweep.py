"""``expander sweep``."""

import hashlib
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from expander_theory.base import ExpanderTheoryError, require
from expander_theory.commands.sweeping.options import Dictionaries, Effort, Execution, Grid, Shard, Signals, SlurmJobs

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from expander_theory.simulation import Ladder, Schedule


class IncompleteSweep(ExpanderTheoryError):
    """Some blocks are quarantined; everything else is done."""


_MOST_DRAWS = 100_000


@dataclass(frozen=True)
class Sweep:
    """Recovery rates over a grid of cells, into a ledger that a second run resumes."""

    out: tyro.conf.Positional[Path]
    """Results folder; one that holds another experiment is refused."""
    grid: tyro.conf.OmitArgPrefixes[Grid] = field(default_factory=Grid)
    dictionaries: tyro.conf.OmitArgPrefixes[Dictionaries] = field(default_factory=Dictionaries)
    signals: tyro.conf.OmitArgPrefixes[Signals] = field(default_factory=Signals)
    effort: tyro.conf.OmitArgPrefixes[Effort] = field(default_factory=Effort)
    execution: tyro.conf.OmitArgPrefixes[Execution] = field(default_factory=Execution)
    slurm: tyro.conf.OmitArgPrefixes[SlurmJobs] = field(default_factory=SlurmJobs)
    certified_draws: int = 5
    """Dictionaries per size whose Babel-certified k is recorded, for the line in the figure; 0 for none."""
    seed: int = 0
    """Seed of everything."""
    dry_run: bool = False
    """Print cells, trials, and an estimate of time and disk from a calibration of a few seconds; write nothing."""

    def run(self) -> None:
        from expander_theory.commands.sweeping.ladders import grid_ladders

        draws = self.certified_draws
        require(0 <= draws <= _MOST_DRAWS, "certified-draws", draws, f"must be between 0 and {_MOST_DRAWS}")
        self.execution.require_valid()
        schedule = self.effort.schedule()
        fine = self.effort.boundary
        ladders = grid_ladders(self.dictionaries, self.grid, self.signals, self.seed, resolution=fine)
        if self.dry_run:
            self._estimate(ladders, schedule)
        elif self.execution.executor == "slurm":
            self._submit(ladders)
        else:
            self._sweep(ladders, schedule)

    def run_shard(self, shard: str) -> None:
        """One shard, as a job of its own."""
        replace(self, execution=replace(self.execution, shard=shard)).run()

    def _sweep(self, ladders: "Sequence[Ladder]", schedule: "Schedule") -> None:
        from expander_theory.commands.sweeping.tables import show_brackets, show_cells
        from expander_theory.results import Ledger
        from expander_theory.simulation import FindBoundary, run_certificates, run_sweep

        identity, suffix = {"kind": "sweep", **_description(ladders)}, ""
        if self.execution.shard is not None:
            shard = Shard.parse(self.execution.shard)
            ladders, suffix = shard.of(ladders), shard.suffix
            identity["shard"] = str(shard)
        ledger, failures = Ledger(self.out / f"ledger{suffix}.jsonl", identity), []
        with self._workers() as (executor, workers), ledger, _told_how_to_resume(ledger.path):
            counted = run_sweep(
                ladders,
                schedule,
                ledger,
                executor=executor,
                workers=workers,
                retries=self.execution.retries,
                report=failures.append,
            )
            drawn = [ladder.base.ensemble for ladder in ladders]
            uncertified = run_certificates(drawn, self.certified_draws, ledger, seed=self.seed)
            records = ledger.records
        if isinstance(schedule, FindBoundary):
            show_brackets(ladders, schedule, records)
        show_cells(counted, self.out / f"cells{suffix}.csv")
        for problem in uncertified:
            print(problem)
        print(f"ledger: {ledger.path}")
        if suffix:
            print(f"when all shards are done: {_merge_command(self.out)}")
        else:
            print(f"to draw the phase diagram: {shlex.join(['expander', 'figures', '--results', str(self.out)])}")
        if failures:
            raise IncompleteSweep(
                f"{failures[0]}\n`expander ledger status` lists all; the same command tries them again"
            )

    @contextmanager
    def _workers(self) -> "Iterator[tuple[Executor | None, int]]":
        """The executor, None for this machine, and how many calls it runs at a time."""
        from expander_theory.simulation import dask_executor

        execution = self.execution
        if execution.scheduler is None:
            yield None, self._worker_count()
        else:
            with dask_executor(execution.scheduler, timeout=execution.scheduler_timeout) as (executor, threads):
                yield executor, max(threads, execution.workers or 1)

    def _worker_count(self) -> int:
        from expander_theory.base import default_workers

        if self.execution.workers is not None:
            return self.execution.workers
        return 1 if self.execution.executor == "inline" else default_workers()

    def _estimate(self, ladders: "Sequence[Ladder]", schedule: "Schedule") -> None:
        from expander_theory.commands.sweeping.tables import show_estimate
        from expander_theory.simulation import estimate_sweep

        if self.execution.shard is not None:
            ladders = Shard.parse(self.execution.shard).of(ladders)
        on_slurm = self.execution.executor == "slurm"
        workers = self.slurm.slurm_jobs * self.slurm.slurm_cpus if on_slurm else self._worker_count()
        show_estimate(estimate_sweep(ladders, schedule), workers)

    def _submit(self, ladders: "Sequence[Ladder]") -> None:
        from expander_theory.simulation import submit_shards

        asked, out = self.slurm, self.out.absolute()
        Shard(1, max(1, asked.slurm_jobs)).of(ladders)
        job = replace(self, out=out, execution=replace(self.execution, executor="loky", workers=asked.slurm_cpus))
        jobs = submit_shards(
            job.run_shard,
            asked.slurm_jobs,
            out / "slurm",
            minutes=asked.slurm_time,
            cpus=asked.slurm_cpus,
            memory=asked.slurm_memory,
            partition=asked.slurm_partition,
            cluster=asked.slurm_cluster,
        )
        for number, submitted in enumerate(jobs, 1):
            print(f"shard {number}/{len(jobs)}: job {submitted.job_id}, log {submitted.paths.stdout}")
        failed = [submitted.job_id for submitted in jobs if asked.slurm_wait and submitted.exception() is not None]
        print(f"when all are done: {_merge_command(out)}\nto resume those that were stopped: {_this_command()}")
        if failed:
            raise IncompleteSweep(f"{len(failed)} of {len(jobs)} jobs failed ({', '.join(failed)}): see their logs")


def _description(ladders: "Sequence[Ladder]") -> dict[str, Any]:
    """What is swept, with all defaults filled in and files by their hashes, and a digest of every task in order."""
    from expander_theory.simulation import content

    ids = "".join(ladder.task(k).id for ladder in ladders for k in ladder.ks)
    bases = [content(ladder.base) for ladder in ladders]
    ensembles = [base.pop("ensemble") for base in bases]
    keys = dict.fromkeys(name for ensemble in ensembles for name in ensemble)
    return {
        "tasks": hashlib.sha256(ids.encode()).hexdigest()[:16],
        **{name: _distinct(base[name] for base in bases) for name in bases[0]},
        "k": _distinct(k for ladder in ladders for k in ladder.ks),
        "ensemble": {name: _distinct(ensemble.get(name) for ensemble in ensembles) for name in keys},
    }


def _distinct(values: Iterable[Any]) -> Any:
    """The different values in order, or the one value."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found[0] if len(found) == 1 else found


@contextmanager
def _told_how_to_resume(ledger: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nfinished blocks are in {ledger}\nto go on: {_this_command()}", file=sys.stderr)
        raise


def _this_command() -> str:
    return shlex.join(["expander", *sys.argv[1:]])


def _merge_command(out: Path) -> str:
    return f"expander ledger merge {shlex.quote(str(out))} {shlex.quote(str(out))}/ledger.shard-*.jsonl"
