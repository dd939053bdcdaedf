"""The shards of a sweep as Slurm jobs, through submitit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from expander_theory.base import InvalidArgument, MissingResource, require


def submit_shards(
    run: Callable[[str], Any],
    jobs: int,
    folder: str | Path,
    *,
    minutes: int = 60,
    cpus: int = 1,
    memory: float | None = None,
    partition: str | None = None,
    cluster: str = "slurm",
) -> list[Any]:
    """Submit ``jobs`` jobs of which the i-th calls ``run("i/jobs")``; returns submitit's jobs, in order.

    Args:
        run: picklable, and importable by its name on the nodes.
        jobs: at least 1.
        folder: of logs and of what submitit pickles for its jobs.
        minutes, cpus: of a job, at least 1.
        memory: GB of a job; default: the cluster's.
        partition: default: the cluster's.
        cluster: "slurm"; "local" for processes on this machine, "debug" for this process.

    Raises:
        MissingResource: submitit is not installed.
        InvalidArgument: a number out of range, or a cluster that cannot be reached from here.
    """
    for name, value in (("slurm-jobs", jobs), ("slurm-time", minutes), ("slurm-cpus", cpus)):
        require(value >= 1, name, value, "must be at least 1")
    require(memory is None or memory > 0, "slurm-memory", memory, "must be more than 0 GB")
    try:
        import submitit
    except ModuleNotFoundError:
        raise MissingResource("the slurm executor needs submitit: run `pip install 'expander-theory[slurm]'`") from None
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster)
    except RuntimeError as error:
        raise InvalidArgument("slurm-cluster", cluster, f"cannot be used on this machine ({error})") from None
    executor.update_parameters(
        name="expander-sweep", timeout_min=minutes, cpus_per_task=cpus, mem_gb=memory, slurm_partition=partition
    )
    return [executor.submit(run, f"{index}/{jobs}") for index in range(1, jobs + 1)]
