"""Time a token and peak memory from 4,096 to 1,048,576 features. ``python -m experiments.bench.size``.

Each work is done in a process of its own. Dense SAEs stand beside as far as they are asked for; what they need at
other sizes is computed. Times are wall times: leave the machine alone meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expander_theory.base import require, require_seed
from experiments.bench.command import Case, Record, main, measure_cases
from experiments.bench.machine import describe, headline
from experiments.bench.size.measuring import WORKS, Asked, measured
from experiments.bench.table import markdown

GIB = 2**30


@dataclass(frozen=True)
class SizeBenchmark:
    """Measure how time and memory of SAEs grow with the number of features."""

    n: tuple[int, ...] = (4096, 16_384, 65_536, 262_144, 1_048_576)
    """Features."""
    m: int = 576
    """Width of an activation."""
    d: int = 8
    """Nonzeros of a column."""
    k: int = 32
    """Active features."""
    batch: int = 512
    """Tokens in a call."""
    most_dense: int = 16_384
    """The largest n at which dense SAEs are measured too."""
    repeats: int = 3
    """Calls that are timed, after a first one."""
    threads: int = 2
    """Of every process."""
    seed: int = 0
    """Of all that is random."""
    out: Path | None = None
    """A ledger (JSON lines) for all numbers and the machine; the same command goes on where it stopped."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            InvalidArgument: an option out of range.
            InvalidFile: ``out`` is no ledger of these options on this machine.
        """
        for name in ("m", "d", "k", "batch", "repeats", "threads"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(self.d <= self.m, "d", self.d, f"must be at most m = {self.m}")
        least = min(self.n, default=0)
        require(least >= self.k, "n", least, f"must be at least k = {self.k}, for every n")
        require_seed(self.seed)
        sizes = {name: getattr(self, name) for name in ("m", "d", "k", "batch", "repeats", "threads", "seed")}
        identity = {"kind": "size benchmark", **sizes, "machine": describe()}
        cases = [
            Case({"work": work, "n": n}, lambda work=work, n=n: measured(Asked(work=work, n=n, **sizes)))
            for n in self.n
            for work in WORKS
            if n <= self.most_dense or not work.startswith("dense")
        ]
        records = measure_cases(cases, self.out, identity, name="size benchmark")
        print(f"{headline()}; m = {self.m}, d = {self.d}, k = {self.k}, {self.batch} tokens, {self.threads} threads\n")
        print(f"{growth(records, self.m, self.batch)}\n\n{backends(records, self.batch)}")


def growth(records: list[Record], m: int, batch: int) -> str:
    """A row for each n: microseconds a token and peak MB of each work; what a dense step needs at least."""
    rows = []
    for n in sorted({one["n"] for one in records}):
        of_n = {one["work"]: one for one in records if one["n"] == n}
        cells = [
            f"{1e6 * min(of_n[work]['seconds']) / batch:,.0f} us, {of_n[work]['peak'] / 1e6:,.0f} MB"
            if work in of_n
            else "-"
            for work in WORKS
        ]
        rows.append([f"{n:,}", *cells, f"{dense_bytes(m, n) / GIB:.2f} GiB, {2 * m * n / 1e6:,.0f} Mflop"])
    return markdown(rows, ("n", *WORKS, "dense, computed"))


def dense_bytes(m: int, n: int) -> int:
    """Bytes of a dense tied decoder in training: values, gradient and both moments of Adam, float32."""
    return 4 * 4 * m * n


def backends(records: list[Record], batch: int) -> str:
    """A row for each n: OMP by columns and by rows, and which of them is taken."""
    rows = []
    for n in sorted({one["n"] for one in records}):
        of_n = {one["work"]: one for one in records if one["n"] == n}
        omp = of_n["OMP code"]
        times = (f"{1e6 * omp['beside'][backend] / batch:,.0f}" for backend in ("tile", "push"))
        rows.append([f"{n:,}", *times, omp["backend"]])
    return markdown(rows, ("n", "OMP by columns, us", "OMP by rows, us", "taken"))


if __name__ == "__main__":
    main(SizeBenchmark)  # type: ignore[arg-type]
