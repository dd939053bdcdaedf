"""Claim: the fastest OMP for masked dictionaries on a CPU. Ours beside every peer, on one thread.

``python experiments/bench_omp.py`` (or ``python -m experiments.bench_omp``) prints Markdown tables; it exits with
code 1 where supports disagree and no near-tie explains it. Times are CPU times, so that a busy machine counts less.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if __name__ == "__main__":
    for library in ("OMP", "OPENBLAS", "MKL", "VECLIB", "NUMEXPR", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # read when NumPy and the peers are imported
    sys.path.insert(0, str(Path(__file__).parents[1]))

SizeName = Literal["A", "B", "C", "D", "E", "d7", "d30", "d100", "d200"]
QUICK: tuple[SizeName, ...] = ("A", "B", "d100")


@dataclass(frozen=True)
class Benchmark:
    """Time OMP beside its peers: scikit-learn, SPAMS, orthogonal-matching-pursuit-gpu and two short references."""

    sizes: tuple[SizeName, ...] = ()
    """Only these (default: all; with --quick A, B and d100)."""
    repeats: int = 3
    """Interleaved repeats; fewer for a slow solver."""
    quick: bool = False
    """One repeat, an eighth of the signals, no compile times: not to be quoted."""
    seconds: float = 3.0
    """What the repeats of one solver on one size may take; one is always made."""
    memory: float = 3.0
    """GiB that a solver may need."""
    gram_seconds: float = 6.0
    """Seconds that a Gram matrix may take."""
    seed: int = 0
    """Of dictionaries and codes."""
    out: Path | None = None
    """A new ledger (JSON lines) for all numbers and the machine."""

    def run(self) -> None:
        """Measure and print; exit with code 1 where supports disagree.

        Raises:
            InvalidArgument: a number out of range, or ``out`` exists.
        """
        from expander_theory.base import require, require_seed
        from experiments.bench.peers import Budget
        from experiments.bench.report import Settings, report
        from experiments.bench.sizes import SIZES

        for name in ("repeats", "seconds", "memory", "gram_seconds"):
            require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
        require_seed(self.seed)
        names = self.sizes or (QUICK if self.quick else tuple(SIZES))
        settings = Settings(
            sizes=tuple(SIZES[name] for name in names),
            repeats=1 if self.quick else self.repeats,
            share=8 if self.quick else 1,
            seconds=self.seconds,
            budget=Budget(self.memory * 2**30, self.gram_seconds),
            seed=self.seed,
            compile_times=not self.quick,
        )
        disputes = report(settings, self.out)
        if disputes:
            sys.exit("Supports disagree, and no near-tie explains it:\n" + "\n".join(disputes))
        print("\nSupports agree wherever no near-tie decides.")


if __name__ == "__main__":
    import tyro

    tyro.cli(Benchmark).run()
