"""How near batched OMP in torch comes to the limit of its device. ``python -m experiments.bench_torch_omp``.

Prints a Markdown table: signals per second of each way to correlate, beside the compiled OMP on the same machine's
processor, and the share of the device's limit. Exits with code 1 where supports disagree and no near-tie explains it.
Times are wall-clock times, the best of the repeats; signals, dictionary and result stay on the device.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from tabulate import tabulate

from expander_theory.base import require, require_seed
from expander_theory.solvers import omp
from experiments.bench.references import TieAwareOMP
from experiments.bench.sizes import SIZES, Problem, make_problem
from sae_bridge.codes import Correlation, TensorDictionary, exact_products, torch_omp

HEADERS = ("size", "correlation", "batch", "signals/s", "compiled, CPU", "ratio", "share of limit", "supports agree")
LEGEND = """Limit: 2 m n k flop a signal at the rate of a product, or n d k entries of residual at the rate of a copy,
which caches can exceed."""
BATCHES = {"cuda": (262144, 65536, 32768, 16384, 8192), "cpu": (8192, 2048, 1024, 256, 64)}


@dataclass(frozen=True)
class Benchmark:
    """Time torch_omp at the sizes A to E of the OMP benchmark: +-1/sqrt(d) values, Gaussian codes, no noise."""

    sizes: tuple[Literal["A", "B", "C", "D", "E"], ...] = ("A", "B", "C", "D", "E")
    """Only these."""
    correlations: tuple[Correlation, ...] = ("product", "gather", "triton")
    """Ways to correlate; triton is left out where it cannot run (no CUDA, or not installed)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is any."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of dictionary and signals."""
    batch: int | None = None
    """Signals; by default 262,144 (A) to 8,192 (E) on CUDA, 8,192 to 64 on a CPU."""
    compared: int = 64
    """Signals that the compiled OMP solves too."""
    repeats: int = 3
    """The best counts, after one run that is not timed."""
    seed: int = 0
    """Of dictionaries and codes."""

    def run(self) -> None:
        """Measure and print; exit with code 1 where supports disagree.

        Raises:
            InvalidArgument: a number out of range, or CUDA asked for and absent.
        """
        for name in ("batch", "compared", "repeats"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "must be at least 1")
        require_seed(self.seed)
        found = torch.cuda.is_available()
        require(
            self.device != "cuda" or found, "device", "'cuda'", "must be 'cpu' or 'auto': torch finds no CUDA device"
        )
        device = "cuda" if found and self.device != "cpu" else "cpu"
        dtype = getattr(torch, self.dtype)
        limits = Limits.of(device, dtype)
        print(f"{_name(device)}, torch {torch.__version__}, {self.dtype}: {limits.text}\n")
        rows, disputes = [], []
        for name, automatic in zip(("A", "B", "C", "D", "E"), BATCHES[device], strict=True):
            if name in self.sizes:
                problem = make_problem(SIZES[name], self.batch or automatic, np.dtype(self.dtype), self.seed)
                rows += self._size(problem, device, limits, disputes)
        print(tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True))
        print(f"\n{LEGEND}")
        if disputes:
            sys.exit("Supports disagree, and no near-tie explains it: " + ", ".join(disputes))

    def _size(self, problem: Problem, device: str, limits: Limits, disputes: list[str]) -> list[list[str]]:
        size, some = problem.size, problem.signals[: self.compared]
        runs = device == "cuda" and importlib.util.find_spec("triton") is not None
        correlations: list[Correlation] = [one for one in self.correlations if one != "triton" or runs]
        omp(problem.dictionary, some, size.k)  # compiles
        seconds, expected = _timed(lambda: omp(problem.dictionary, some, size.k), 1, lambda: None)
        compiled = len(some) / seconds
        h = torch.from_numpy(problem.signals).to(device)
        typed = TensorDictionary.of(problem.dictionary, h)
        rows = []
        for correlation in correlations:
            torch_omp(typed, h, size.k, correlation=correlation)  # loads libraries, compiles kernels
            seconds, found = _timed(
                lambda c=correlation: torch_omp(typed, h, size.k, correlation=c), self.repeats, _wait(device)
            )
            rate = len(h) / seconds
            equal, near = _agreement(problem, found.indices[: len(some)].cpu().numpy(), expected.indices)
            if equal + near < len(some):
                disputes.append(f"{size.name} {correlation}")
            agree = f"{equal}/{len(some)}" + (f" ({near} near-ties)" if near else "")
            share = f"{100 * rate / limits.signals(problem, correlation):.0f} %"
            numbers = [str(len(h)), f"{rate:,.0f}", f"{compiled:,.0f}", f"{rate / compiled:.2g}"]
            rows.append([size.text, correlation, *numbers, share, agree])
        return rows


@dataclass(frozen=True)
class Limits:
    """Measured rates of the device: bytes/s of a copy (read and written), flop/s of a matrix product without TF32."""

    copy: float
    product: float

    @classmethod
    def of(cls, device: str, dtype: torch.dtype) -> Limits:
        """Arrays that no cache holds; a product of 8192 (CUDA) or 2048 (CPU) rows and columns."""
        count, side = (1 << 28, 8192) if device == "cuda" else (1 << 26, 2048)
        source = torch.ones(count, dtype=dtype, device=device)
        target = torch.zeros_like(source)
        a = torch.ones(side, side, dtype=dtype, device=device)
        out = torch.zeros_like(a)
        with exact_products():
            copy, product = (
                _timed(work, 5, _wait(device))[0]
                for work in (lambda: target.copy_(source), lambda: torch.mm(a, a, out=out))
            )
        return cls(2 * source.nbytes / copy, 2 * side**3 / product)

    @property
    def text(self) -> str:
        """Both, for a person."""
        return f"copy {self.copy / 1e9:,.0f} GB/s, product {self.product / 1e12:.2f} Tflop/s"

    def signals(self, problem: Problem, correlation: str) -> float:
        """Signals per second that the correlations alone allow."""
        size = problem.size
        if correlation == "product":
            return self.product / (2 * size.m * size.n * size.k)
        return self.copy / (size.n * size.d * size.k * problem.dtype.itemsize)


def _agreement(problem: Problem, found: Any, expected: Any) -> tuple[int, int]:
    """How many supports are equal, and how many of the others a near-tie explains."""
    unequal = np.flatnonzero((np.sort(found, axis=1) != np.sort(expected, axis=1)).any(axis=1))
    judge = TieAwareOMP.of(problem.dictionary)
    near = sum(judge.support(problem.signals[b], problem.k)[1] for b in unequal)
    return len(found) - unequal.size, int(near)


def _timed(work: Callable[[], Any], repeats: int, wait: Callable[[], None]) -> tuple[float, Any]:
    best, found = float("inf"), None
    for _ in range(repeats):
        found = None  # or two results would lie on the device at once
        wait()
        begun = time.perf_counter()
        found = work()
        wait()
        best = min(best, time.perf_counter() - begun)
    return best, found


def _wait(device: str) -> Callable[[], None]:
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    import tyro

    tyro.cli(Benchmark).run()
