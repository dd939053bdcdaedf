"""Commands of the experiments on dictionaries and recovery."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from expander_theory.masks import MASK_FAMILIES

if TYPE_CHECKING:
    Family = str
else:
    Family = Literal[tuple(MASK_FAMILIES)]


@dataclass(frozen=True)
class Cost:
    """Claim: the correlation W^T r costs O(dn). Processor time and bytes of correlation, OMP iteration and solve."""

    preset: Literal["quick", "full"] = "quick"
    """quick: about m = 1024, n = 8192, a minute. full: m = 2048, n up to 65,536, some minutes; 0.6 GB."""
    out: Path = Path("results")
    """Results folder; the ledger is `cost/ledger.jsonl`. Times are those of the machine that ran it."""
    seed: int = 0
    """Seed of masks, signs and codes."""

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.theory import cost

        cost.run(cost.SCALES[self.preset], self.seed, self.out / "cost")
        print(draw_named(self.out, "cost"))


@dataclass(frozen=True)
class Identifiability:
    """Claim: expansion and flatness give identifiability.

    The smallest ||Wx||_1 / ||x||_{1,lambda} over all codes of at most 2k nonzeros (every vertex, on every support)
    beside its lower bound from eps and flatness (RIP1-1), and whether all k-sparse codes are unique (exact ranks).
    """

    preset: Literal["quick", "full"] = "quick"
    """quick: 210 dictionaries with n = 8, seconds. full: 660 with n = 12, some minutes."""
    out: Path = Path("results")
    """Results folder; the ledger is `identifiability/ledger.jsonl`."""
    seed: int = 0
    """Seed of masks and values."""

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.theory import identifiability

        identifiability.run(identifiability.SCALES[self.preset], self.seed, self.out / "identifiability")
        print(draw_named(self.out, "margin_map"))


@dataclass(frozen=True)
class Phase:
    """Claim: conditions under which OMP is exact. Recovery over (m/n, k/m), boundaries, what Babel sums certify.

    Uniform masks of several degrees, biregular, polynomial, and dense Gaussian dictionaries; noiseless normal codes.
    """

    preset: Literal["quick", "full"] = "quick"
    """quick: n = 512, 25 trials a cell, two minutes on two cores. full: n = 1024, twice as many k."""
    out: Path = Path("results")
    """Results folder; the ledger is `phase/ledger.jsonl`."""
    workers: int | None = None
    """Worker processes (default: the processors at hand). The counts do not depend on it."""
    seed: int = 0
    """Seed of everything."""

    def run(self) -> None:
        from expander_theory.base import default_workers
        from expander_theory.plotting import draw_named
        from experiments.theory import phase_transition
        from experiments.theory.presets import PRESETS

        workers = default_workers() if self.workers is None else self.workers
        phase_transition.run(PRESETS[self.preset].phase, self.seed, workers, self.out / "phase")
        print(draw_named(self.out, "phase_diagram", "boundary_by_degree"))


@dataclass(frozen=True)
class Certified:
    """Compare certified with empirical sparsity at SAE sizes. For every family of masks; a second run resumes."""

    preset: Literal["quick", "full"] = "quick"
    """quick: m = 512, n = 4096, some minutes. full: sizes up to n = 65,536 and d up to 64, many hours."""
    out: Path = Path("results/certified")
    """Folder of the ledger; `expander figures` draws it."""
    m: tuple[int, ...] = ()
    """Only sizes with these m (default: all of the preset)."""
    n: tuple[int, ...] = ()
    """Only sizes with these n (default: all of the preset)."""
    d: tuple[int, ...] = ()
    """Only these degrees (default: all of the preset)."""
    family: tuple[Family, ...] = ()
    """Only these families (default: uniform, biregular, progressive-edge-growth, overlap-limited and polynomial)."""
    seed: int = 0
    """Seed of masks, signs, supports and codes."""

    def run(self) -> None:
        from expander_theory.plotting import draw_all
        from experiments.theory import certified

        scale = certified.SCALES[self.preset]
        cases = certified.chosen(scale, family=self.family, m=self.m, n=self.n, d=self.d)
        certified.run(cases, scale, self.seed, self.out)
        print(draw_all(self.out))


@dataclass(frozen=True)
class SyntheticStudy:
    """Run the paper's synthetic study: OMP by degree, sparsity and noise.

    At m = 512, n = 4096; a second run resumes.
    """

    out: Path = Path("results/synthetic")
    """Results folder; `full` adds to what `quick` has left there."""
    preset: Literal["quick", "full"] = "quick"
    """Trials a cell: quick 300 (on 30 masks), about a minute on two cores; full 1,500 (on 150 masks), some minutes."""
    workers: int | None = None
    """Worker processes (default: the processors at hand). The counts do not depend on it."""
    seed: int = 0
    """Seed of everything."""

    def run(self) -> None:
        from expander_theory.base import default_workers
        from expander_theory.plotting import draw_all
        from experiments.theory import synthetic_study

        workers = default_workers() if self.workers is None else self.workers
        start = time.monotonic()
        synthetic_study.run(synthetic_study.SCALES[self.preset], self.seed, workers, self.out)
        print(f"simulated, or found in the ledger, in {time.monotonic() - start:.0f} s with {workers} workers")
        print(draw_all(self.out))


@dataclass(frozen=True)
class PhaseBoundary:
    """Find the 50 % boundary over m/n by adaptive trials.

    Beside it, a fixed grid and its cost; a second run resumes.
    """

    out: Path = Path("results/boundary")
    """Results folder."""
    preset: Literal["quick", "full"] = "full"
    """full: 40 values of m/n, n = 1024, +-0.005 in k/m, minutes on two cores. quick: 10 values, n = 256, seconds."""
    method: Literal["fit", "bracket"] = "fit"
    """fit: a logistic fit. bracket: assumes only that rates fall with k, holds at any time, takes far more trials."""
    fixed: bool = True
    """Run the fixed grid as well, or not."""
    workers: int | None = None
    """Worker processes (default: the processors at hand). The counts do not depend on it."""
    seed: int = 0
    """Seed of everything."""

    def run(self) -> None:
        from expander_theory.base import default_workers
        from expander_theory.plotting import draw_all
        from experiments.theory import phase_boundary
        from paper_figures.figures.theory.phase_boundary import report

        workers = default_workers() if self.workers is None else self.workers
        scale = phase_boundary.SCALES[self.preset]
        phase_boundary.run(scale, self.method, self.seed, workers, self.out, fixed=self.fixed)
        print(f"{report(self.out / 'ledger.jsonl')}\n\n{draw_all(self.out)}")


@dataclass(frozen=True)
class CompareSolvers:
    """Compare OMP with other solvers on the same instances. Tests are exact and paired; a second run resumes."""

    out: Path = Path("results/solvers")
    """Results folder; more solvers or trials add to what is there."""
    preset: Literal["quick", "full"] = "quick"
    """quick: m = 128, n = 512, 100 trials a cell, minutes. full: m = 256, n = 1024, 400 trials, no basis pursuit."""
    against: tuple[str, ...] = ()
    """Other solvers (default: those of the preset): names of `expander sweep --solver`, or your own:
    path/to/file.py:function or package.module:function."""
    trials: int | None = None
    """Trials a cell (default: those of the preset)."""
    workers: int | None = None
    """Worker processes (default: the processors at hand). The counts do not depend on it."""
    seed: int = 0
    """Seed of everything."""

    def run(self) -> None:
        from expander_theory.base import default_workers
        from expander_theory.plotting import draw_all
        from experiments.theory import solver_comparison

        scale = solver_comparison.SCALES[self.preset]
        workers = default_workers() if self.workers is None else self.workers
        trials = scale.trials if self.trials is None else self.trials
        solver_comparison.run(scale, self.against or scale.against, trials, self.seed, workers, self.out)
        print(draw_all(self.out))


@dataclass(frozen=True)
class Solvers:
    """Compare all solvers on four kinds of dictionaries. Boundaries without noise and at 30 dB, in pairs, and time."""

    preset: Literal["quick", "full"] = "quick"
    """quick: m = 64, n = 256, 25 trials a cell, minutes. full: m = 128, n = 512, 50 trials, half an hour."""
    out: Path = Path("results")
    """Results folder; the ledger is `solver-table/ledger.jsonl`."""
    solver: tuple[str, ...] = ()
    """Your own beside them: path/to/file.py:function or package.module:function, called as function(W, signals, k)."""
    workers: int | None = None
    """Worker processes (default: the processors at hand). The counts do not depend on it."""
    seed: int = 0
    """Seed of everything."""

    def run(self) -> None:
        from expander_theory.base import default_workers
        from expander_theory.plotting import draw_named
        from experiments.theory import solver_boundaries

        workers = default_workers() if self.workers is None else self.workers
        scale = solver_boundaries.SCALES[self.preset]
        solver_boundaries.run(scale, self.solver, self.seed, workers, self.out / "solver-table")
        print(draw_named(self.out, "solver_boundaries"))
