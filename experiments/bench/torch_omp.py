"""How near batched OMP in torch comes to the limit of its device. ``python -m experiments.bench.torch_omp``.

Prints Markdown tables: signals per second of each way to correlate, beside the compiled OMP on the same machine's
processor, and the share of the device's limit. Exits with code 1 where supports disagree and no near-tie explains it.
Times are wall-clock times, the best of the repeats; signals, dictionary and result stay on the device.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from expander_theory.base import require
from experiments.bench import table
from experiments.bench.agreement import Agreement, Judge
from experiments.bench.command import Benchmark, Case, Record, main, measured_in
from experiments.bench.driver import Call, Contender, Measured, fastest, measure
from experiments.bench.machine import describe
from experiments.bench.omp_peers import ours
from experiments.bench.sae_cuda import copy_rate, device_clock, device_name, device_peak
from experiments.bench.sizes import SIZES, Problem, make_problem
from sae_bridge.pursuits import Correlation, TensorDictionary, exact_products, torch_omp

LEGEND = """Limit: 2 m n k flop a signal at the rate of a product, or n d k entries of residual at the rate of a copy,
which caches can exceed."""
SizeName = Literal["A", "B", "C", "D", "E"]
BATCHES: dict[str, dict[SizeName, int]] = {
    "cuda": {"A": 262144, "B": 65536, "C": 32768, "D": 16384, "E": 8192},
    "cpu": {"A": 8192, "B": 2048, "C": 1024, "D": 256, "E": 64},
}
"""Signals in a call, by device and size."""
COMPILED = "compiled, CPU"


@dataclass(frozen=True)
class TorchOMPBenchmark(Benchmark):
    """Time torch_omp at the sizes A to E of the OMP benchmark: +-1/sqrt(d) values, Gaussian codes, no noise."""

    title = "torch OMP benchmark"
    sizes: tuple[SizeName, ...] = ("A", "B", "C", "D", "E")
    """Only these."""
    correlations: tuple[Correlation, ...] = ("product", "gather", "triton")
    """Ways to correlate; triton is left out where it cannot run (no CUDA, or not installed)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is any."""
    dtype: Literal["float32", "float64"] = "float32"
    """The dtype of dictionary and signals."""
    batch: int | None = None
    """Signals; by default 262,144 (A) to 8,192 (E) on CUDA, 8,192 to 64 on a CPU."""
    compared: int = 64
    """Signals that the compiled OMP solves too."""

    @property
    def identity(self) -> Record:
        options = {name: getattr(self, name) for name in ("correlations", "dtype", "batch", "compared")}
        return {**super().identity, **options, "name": device_name(self._device), "machine": describe()}

    def check(self) -> None:
        super().check()
        for name in ("batch", "compared"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "must be at least 1")
        found = self.device != "cuda" or torch.cuda.is_available()
        require(found, "device", "'cuda'", "must be 'cpu' or 'auto': torch finds no CUDA device")

    @property
    def _device(self) -> str:
        return "cuda" if torch.cuda.is_available() and self.device != "cpu" else "cpu"

    def cases(self) -> list[Case]:
        limits = Limits.of(torch.device(self._device), getattr(torch, self.dtype))
        print(f"{device_name(self._device)}, torch {torch.__version__}: {limits.text}\n\n{LEGEND}")
        return [Case({"size": name, "dtype": self.dtype}, partial(self._measure, name, limits)) for name in self.sizes]

    def _measure(self, name: SizeName, limits: Limits) -> Record:
        device = torch.device(self._device)
        batch = self.batch or BATCHES[self._device][name]
        problem = make_problem(SIZES[name], batch, np.dtype(self.dtype), self.seed)
        runs = device.type == "cuda" and importlib.util.find_spec("triton") is not None
        correlations: list[Correlation] = [one for one in self.correlations if one != "triton" or runs]
        h = torch.from_numpy(problem.signals).to(device)
        typed = TensorDictionary.of(problem.dictionary, h)

        def contender(correlation: Correlation) -> Contender:
            call = partial(torch_omp, typed, h, problem.k, correlation=correlation)
            return Contender(correlation, batch, lambda: {"call": call}, self._first_supports, warm=True)

        def compiled() -> dict[str, Call]:
            solve = ours().start(problem)
            return {"call": lambda: solve(self.compared)}

        reference = Contender(COMPILED, min(self.compared, batch), compiled, lambda found: found.indices, warm=True)
        contenders = [reference, *map(contender, correlations)]
        measured, answers = measure(contenders, self.repeats, clock=device_clock(device), peak=device_peak(device))
        judge = Judge(problem.dictionary, problem.signals, problem.k)
        agreement = {one: judge.between(answers[COMPILED], answers[one]) for one in correlations}
        return {
            "measured": [asdict(one) for one in measured],
            "agreement": {one: asdict(found) for one, found in agreement.items()},
            "limits": {one: limits.signals(problem, one) for one in correlations},
            "faults": [f"{name} {one}" for one, found in agreement.items() if found.ours_wrong + found.theirs_wrong],
        }

    def _first_supports(self, found: Any) -> Any:
        return found.indices[: self.compared].cpu().numpy()

    def show(self, record: Record) -> str:
        measured, limits = measured_in(record), record["limits"]
        compared = {name: Agreement(**found).text for name, found in record["agreement"].items()}

        def speed(one: Measured) -> float:
            return one.batch / one.least("call")

        columns: dict[str, Callable[[Measured], str]] = {
            "correlation": table.name,
            "batch": table.batch,
            "ms (IQR)": table.milliseconds("call"),
            "signals/s": table.per_second("call"),
            "ratio": lambda one: f"{speed(one) / speed(measured[0]):.2g}",
            "share of limit": lambda one: f"{100 * speed(one) / limits[one.name]:.0f} %" if one.name in limits else "",
            "peak MB": table.peak,
            "supports agree": lambda one: compared.get(one.name, ""),
        }
        return f"{SIZES[record['size']].text}, {record['dtype']}\n\n{table.table(measured, columns)}"


@dataclass(frozen=True)
class Limits:
    """Measured rates of the device: bytes/s of a copy (read and written), flop/s of a matrix product without TF32."""

    copy: float
    product: float

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype) -> Limits:
        """Of arrays that no cache holds; a product of 8192 (CUDA) or 2048 (CPU) rows and columns."""
        side = 8192 if device.type == "cuda" else 2048
        a = torch.ones(side, side, dtype=dtype, device=device)
        out = torch.zeros_like(a)
        calls: dict[str, Callable[[], Any]] = {"product": lambda: torch.mm(a, a, out=out)}
        with exact_products():
            product = fastest(calls, clock=device_clock(device))["product"]
        return cls(copy_rate(device), 2 * side**3 / product)

    @property
    def text(self) -> str:
        """Both figures as text."""
        return f"copy {self.copy / 1e9:,.0f} GB/s, product {self.product / 1e12:.2f} Tflop/s"

    def signals(self, problem: Problem, correlation: str) -> float:
        """Signals per second that the correlations alone allow."""
        size = problem.size
        if correlation == "product":
            return self.product / (2 * size.m * size.n * size.k)
        return self.copy / (size.n * size.d * size.k * problem.dtype.itemsize)


if __name__ == "__main__":
    main(TorchOMPBenchmark)
