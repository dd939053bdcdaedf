"""Error, time and memory of dictionary learning, each method in a process of its own, on one thread.

All dictionaries are judged by the same code, :func:`expander_theory.omp` with the k that they learned for, on samples
held out. What takes no learning is in the table too: an error near it is none that learning has earned.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from expander_theory.base import ExpanderTheoryError, require, require_seed
from experiments.bench.dictionary_learning.measuring import Record, measured
from experiments.bench.dictionary_learning.methods import METHODS
from experiments.bench.dictionary_learning.problems import PROBLEMS
from experiments.bench.machine import describe, headline
from experiments.bench.table import markdown

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Run:
    """Compare ways to learn a dictionary."""

    problems: tuple[str, ...] = tuple(PROBLEMS)
    """Of "patches" and "digits"."""
    only: str = ""
    """Methods whose name contains this text."""
    seed: int = 0
    """Of samples, masks and first columns."""
    out: Path | None = None
    """A JSON file of all numbers and the machine."""

    def run(self) -> None:
        """Measure and print; write ``out`` at the end.

        Raises:
            InvalidArgument: an option out of range.
        """
        require_seed(self.seed)
        for name in self.problems:
            require(name in PROBLEMS, "problems", repr(name), f"must be of {', '.join(PROBLEMS)}")
        methods = [one for one in METHODS if self.only in one.name and find_spec(one.package)]
        require(bool(methods), "only", repr(self.only), "must be part of the name of an installed method")
        os.environ.update(dict.fromkeys(THREADS, "1"))  # of the processes started below
        records = []
        for name in self.problems:
            found = [measured(name, METHODS.index(one), self.seed) for one in methods]
            print(f"\n{name}: {found[0]['problem']}\n\n{table(found)}", flush=True)
            records += found
        print(f"\n{headline()}")
        if self.out is not None:
            content = {"kind": "dictionary learning", "seed": self.seed, "machine": describe(), "records": records}
            self.out.write_text(json.dumps(content, indent=1) + "\n")


def table(records: list[Record]) -> str:
    """A row for each method."""
    rows = [
        [one["method"], f"{one['fvu']:.4f}".lstrip("0"), f"{one['seconds']:.2f}", f"{one['peak'] / 1e6:,.0f}",
         f"{one['values']:,}"]
        for one in records
    ]  # fmt: skip
    return markdown(rows, ("method", "FVU held out", "fit, s of processor", "peak memory, MB", "values"))


if __name__ == "__main__":
    import tyro

    try:
        tyro.cli(Run).run()
    except ExpanderTheoryError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
