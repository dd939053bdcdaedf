"""The options of ``expander sweep``, by subject: what is simulated, how much of it, and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from expander_theory.base import require

if TYPE_CHECKING:
    from expander_theory.simulation import Schedule

Item = TypeVar("Item")


@dataclass(frozen=True)
class Dictionaries:
    """Which dictionaries."""

    family: tuple[str, ...] = ("uniform", "dense")
    """Families of masks (`expander build --help` explains them), dense: Gaussian dictionaries, file: the one that
    --dictionary names, or your own: path/to/file.py:function or package.module:function, called as
    function(m, n, d, rng)."""
    dictionary: Path | None = None
    """A saved dictionary, for the family file: a trained decoder, say. The other families then have its m, n and d."""
    values: Literal["signs", "gaussian", "flat"] = "signs"
    """Values on the masks."""
    flatness: float = 0.0
    """Column flatness C for --values flat, between 1 and sqrt(d)."""
    d: int | None = None
    """Left degree of the masks; default 8, or that of --dictionary."""
    dictionaries: Literal["fresh", "cell", "fixed"] = "fresh"
    """fresh: another one for every --signals-per-dictionary trials. cell: one a cell. fixed: one for all k."""
    signals_per_dictionary: int = 1
    """Consecutive trials that share a fresh dictionary; above 1 they are not independent, and intervals that take
    them for independent are too short."""


@dataclass(frozen=True)
class Grid:
    """Which cells: --n with --m-over-n and --k-over-m, or --m with --ns and --ks, or --dictionary with either of
    --ks and --k-over-m."""

    n: int | None = None
    """Columns, for a grid in (m/n, k/m); default 512."""
    m_over_n: tuple[float, ...] = ()
    """Undersampling ratios, default 0.1, 0.2, ..., 0.9; m is n times this, rounded (polynomial and
    partial-euler-square: to the nearest d q that they have)."""
    k_over_m: tuple[float, ...] = ()
    """Sparsity ratios, default 0.05, 0.1, ..., 0.6; k is m times this, rounded, at least 1."""
    m: int | None = None
    """Rows, for a grid in (n, k)."""
    ns: tuple[int, ...] = ()
    """Columns, with --m."""
    ks: tuple[int, ...] = ()
    """Sparsities, with --m or --dictionary."""


@dataclass(frozen=True)
class Signals:
    """Which signals, and what counts as success."""

    coefficients: str = "gaussian"
    """Law of the planted nonzeros. gaussian: standard normal. signs: fair. uniform: in [1, 2). decaying: magnitudes
    e^(-decay i) in random order. range: log-uniform magnitudes in [1, range]. Or your own law of supports and nonzeros:
    path/to/file.py:function or package.module:function, called as function(n, k, batch, rng)."""
    codes: Path | None = None
    """Codes that occur, instead of --coefficients: a .npz file of scipy.sparse, (codes, n), as `expander recover` and
    `expander sae codes` write it. Those with at least k nonzeros are cut to their k largest."""
    decay: float = 0.0
    """Rate of --coefficients decaying."""
    range: float = 0.0
    """Largest magnitude of --coefficients range."""
    firing: Path | None = None
    """Firing rates, one per dictionary column (.npy, .safetensors or .json): supports follow them. Default: uniform
    supports."""
    noise: str = "none"
    """none. relative: N(0, sigma^2 ||h||^2 / m) per entry of the signal h. absolute: N(0, sigma^2). Or your own:
    path/to/file.py:function or package.module:function, called as function(signals, rng)."""
    sigma: float = 0.0
    """Level of the noise."""
    success: str = "support"
    """support: exactly the planted one. fraction: share of its atoms at least --threshold. error: relative error of
    the code at most --threshold. Or your own: path/to/file.py:function or package.module:function, called as
    function(planted, found)."""
    threshold: float = 0.0
    """For --success fraction and error."""
    measure_errors: bool = False
    """Run every trial to its end, so that the share of atoms found and the error of the code are measured too. With
    --success support OMP otherwise stops at the first wrong atom."""
    solver: tuple[str, ...] = ("omp",)
    """Solvers; several see the same dictionaries, codes and noise. omp, topk, matching-pursuit, gomp, cosamp, niht,
    htp, subspace-pursuit, amp, lasso, basis-pursuit; for masks smp, ssmp, l0-decoding, l0-decoding-sequential; for
    codes >= 0 omp-, amp-, lasso-, basis-pursuit-nonnegative. Or your own: path/to/file.py:function or
    package.module:function, called as function(W, signals, k)."""
    precision: Literal["float32", "float64"] = "float32"
    """Of dictionary, signals and solver."""


@dataclass(frozen=True)
class Effort:
    """How many trials: one of --trials, --boundary and --half-width. A later run with more adds to the same ledger."""

    trials: int | None = None
    """Trials per cell; default 50, rounded up to whole blocks."""
    boundary: float | None = None
    """Bracket the 50 % boundary of each ladder (tasks that differ in k alone) within +- this in k/m, and spend trials
    where it is uncertain. Without --k-over-m and --ks every ladder then has a fine grid of k up to 0.6 m."""
    boundary_method: Literal["bracket", "fit"] = "bracket"
    """bracket: assumes only that rates fall with k, and holds at any time. fit: a logistic curve, for far fewer
    trials where the transition is gentle; needs independent trials."""
    half_width: float | None = None
    """Try each cell until the confidence sequence of its rate has this half-width."""
    max_trials: int | None = None
    """Most trials: per ladder with --boundary (default 4000), per cell with --half-width (default 2000)."""

    def schedule(self) -> "Schedule":
        """The schedule that these options ask for.

        Raises:
            InvalidArgument: an option out of range, or options that do not go together.
        """
        from expander_theory.simulation import FindBoundary, FitBoundary, FixedTrials, ResolveCells

        given = {name: getattr(self, name) for name in ("trials", "boundary", "half_width")}
        chosen = [name.replace("_", "-") for name, value in given.items() if value is not None]
        require(len(chosen) <= 1, ", ".join(chosen), "given", "only one of them may be given")
        if self.boundary is not None:
            require(0 < self.boundary < 1, "boundary", self.boundary, "must be in (0, 1)")
            kind = FindBoundary if self.boundary_method == "bracket" else FitBoundary
            return kind(self.boundary, 4000 if self.max_trials is None else self.max_trials)
        require(self.boundary_method == "bracket", "boundary-method", self.boundary_method, "goes with --boundary")
        if self.half_width is not None:
            return ResolveCells(self.half_width, 2000 if self.max_trials is None else self.max_trials)
        allowed = "goes with --boundary or --half-width"
        require(self.max_trials is None, "max-trials", self.max_trials, allowed)
        return FixedTrials(50 if self.trials is None else self.trials)


_LONGEST = 20  # characters of a shard


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count`` parts of a sweep, 1 <= index <= count."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read a shard from the text "i/n".

        Raises:
            InvalidArgument: of another form, or i outside 1..n.
        """
        index, _, count = text.partition("/")
        numbers = index.isdecimal() and count.isdecimal() and len(text) <= _LONGEST
        require(numbers and 1 <= int(index) <= int(count), "shard", text, "must be i/n with 1 <= i <= n, such as 1/4")
        return cls(int(index), int(count))

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every ``count``-th item, from the ``index``-th on."""
        few = f"must be of at most {len(items)} shards, the number of ladders (family, size, solver) of this sweep"
        require(self.count <= len(items), "shard", self, few)
        return items[self.index - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def suffix(self) -> str:
        """The part of a file name that says which shard it is of."""
        return f".shard-{self.index}-of-{self.count}"


@dataclass(frozen=True)
class Execution:
    """Where the sweep runs; its results do not depend on that."""

    executor: Literal["loky", "inline", "dask", "slurm"] = "loky"
    """loky: processes on this machine. inline: this process. dask: the cluster at --scheduler. slurm: one job a shard,
    each with a ledger of its own."""
    workers: int | None = None
    """Worker processes (default: the processors at hand). For dask: the threads to keep busy, if more will join the
    cluster than it has at the start."""
    scheduler: str | None = None
    """Address of a dask scheduler, tcp://host:8786."""
    scheduler_timeout: float = 10.0
    """Seconds to wait for its answer."""
    shard: str | None = None
    """i/n: only every n-th ladder, from the i-th on, into a ledger of its own; `expander ledger merge` joins them."""
    retries: int = 2
    """Further attempts at a block that fails, before it is left out."""

    def require_valid(self) -> None:
        """Raise :class:`InvalidArgument` for an option out of range, or options that do not go together."""
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "must be at least 1")
        require(self.retries >= 0, "retries", self.retries, "must be at least 0")
        require(self.executor != "inline" or self.workers in (None, 1), "workers", self.workers, "must be 1 inline")
        dask = self.executor == "dask"
        require(not dask or self.scheduler is not None, "scheduler", "not given", "--executor dask needs --scheduler")
        require(dask or self.scheduler is None, "scheduler", self.scheduler, "goes with --executor dask")
        require(self.shard is None or self.executor != "slurm", "shard", self.shard, "does not go with slurm's shards")
        if self.shard is not None:
            Shard.parse(self.shard)


@dataclass(frozen=True)
class SlurmJobs:
    """What each job of --executor slurm asks for."""

    slurm_jobs: int = 4
    """Jobs, one shard each."""
    slurm_partition: str | None = None
    """Partition (default: the cluster's)."""
    slurm_time: int = 60
    """Minutes of a job; one that runs out of them is resumed by submitting again."""
    slurm_cpus: int = 4
    """Processors of a job, one worker process each."""
    slurm_memory: float | None = None
    """GB of a job (default: the cluster's)."""
    slurm_cluster: Literal["slurm", "local"] = "slurm"
    """local: rehearse with processes on this machine."""
    slurm_wait: bool = False
    """Wait for the jobs to end."""
