"""Expander SAEs on a GPU beside a dense TopK SAE under ``torch.compile``. ``python -m experiments.bench.sae_cuda``.

One Markdown table a size: time of a whole step (forward, backward, Adam), peak memory of the device, and the bytes that
the step has to move beside those that a copy moves in the same time. Both start at the same decoder; reconstructions
and gradients are compared first, and the exit code is 1 where they differ. ``--device cpu`` runs the same code with the
compiled CPU kernels, as a check; its times are those of :mod:`experiments.bench.sae`, not of a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from expander_theory.base import require
from experiments.bench import table
from experiments.bench.command import Benchmark, Case, Record, main, measured_in
from experiments.bench.driver import Measured, fastest, measure, peak_bytes, waiting
from experiments.bench.machine import describe
from experiments.bench.sae import SIZES
from experiments.bench.sae_peers import CompiledDense, Dense, Ours, answers_apart
from sae_bridge.models import checked_device

WARM_STEPS = 3


@dataclass(frozen=True)
class SAECudaBenchmark(Benchmark):
    """Time training steps on a GPU."""

    title = "SAE benchmark on a device"
    repeats: int = 20
    """Interleaved steps of every contender that are timed, after four that are not; the median counts."""
    sizes: tuple[Literal["large", "small", "wide"], ...] = ("large", "small", "wide")
    """large: m = 2048, n = 16,384, d = 7; small: m = 576, n = 4,608, d = 8; wide: n = 65,536."""
    batch: int = 4096
    """Tokens in a step, the same for both contenders."""
    device: str = "cuda"
    """Torch device."""
    compiled: bool = True
    """Compile the dense SAE's step; without it plain torch is timed."""

    @property
    def identity(self) -> Record:
        options = {name: getattr(self, name) for name in ("batch", "device", "compiled")}
        return {**super().identity, **options, "name": device_name(self.device), "machine": describe()}

    def check(self) -> None:
        super().check()
        require(self.batch > 0, "batch", self.batch, "must be above 0")
        checked_device(self.device)

    def cases(self) -> list[Case]:
        stream = copy_rate(torch.device(self.device))
        print(f"{device_name(self.device)}; a copy moves {stream / 1e9:,.0f} GB/s.")
        return [Case({"size": name}, lambda name=name: self._measure(name, stream)) for name in self.sizes]

    def _measure(self, name: str, stream: float) -> Record:
        size, device = SIZES[name], torch.device(self.device)
        x = torch.randn(self.batch, size.m, generator=torch.Generator().manual_seed(self.seed)).to(device)
        faults = answers_apart([Dense], size, x, self.seed, device)
        kinds = (Ours, CompiledDense if self.compiled else Dense)
        contenders = [kind.contender(size, x, self.seed, device=device, steps=WARM_STEPS) for kind in kinds]
        measured, _ = measure(contenders, self.repeats, clock=device_clock(device), peak=device_peak(device))
        # Ours: eight passes over (B, m); weights, gradients and moments are small beside them.
        return {"measured": [asdict(one) for one in measured], "limit": 8 * x.nbytes / stream, "faults": faults}

    def show(self, record: Record) -> str:
        measured = measured_in(record)
        first = measured[0]
        columns: dict[str, Callable[[Measured], str]] = {
            "step of": table.name,
            "batch": table.batch,
            "ms (IQR)": lambda one: f"{1e3 * one.median('step'):.2f}{table.spread(one, 'step')}",
            "tokens/s": lambda one: table.rate(one.batch / one.median("step")),
            "ratio": lambda one: f"{one.median('step') / first.median('step'):.1f}",
            "peak MB, with the SAE": table.peak,
            "share of the bandwidth limit": lambda one: (
                f"{100 * record['limit'] / one.median('step'):.0f} %" if one is first else ""
            ),
        }
        return f"## {SIZES[record['size']].text}\n\n{table.table(measured, columns)}"


def device_name(device: str) -> str:
    """For a person."""
    cuda = torch.device(device).type == "cuda"
    return torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads"


def device_clock(device: torch.device) -> Callable[[], float]:
    """Wall time, read when the device has nothing left to do."""
    return waiting(lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else time.perf_counter


def device_peak(device: torch.device) -> Callable[[Callable[[], Any]], int]:
    """What measures the peak of a device's memory in a call, above what was held before."""
    if device.type != "cuda":
        return peak_bytes

    def peak(work: Callable[[], Any]) -> int:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - held

    return peak


def copy_rate(device: torch.device) -> float:
    """Bytes/s that a copy reads and writes, of arrays that no cache holds."""
    source = torch.ones(1 << (28 if device.type == "cuda" else 26), device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / fastest({"copy": lambda: target.copy_(source)}, clock=device_clock(device))["copy"]


if __name__ == "__main__":
    main(SAECudaBenchmark)
