"""Expander SAEs on a GPU beside a dense TopK SAE under ``torch.compile``. ``python -m experiments.bench_sae_cuda``.

One Markdown table a size: time of a whole step (forward, backward, Adam), peak memory of the device, and the bytes that
the step has to move beside those that a copy moves in the same time. Both start at the same decoder; reconstructions
and gradients are compared first, and the exit code is 1 where they differ. ``--device cpu`` runs the same code with the
compiled CPU kernels, as a check; its times are those of ``experiments/bench_sae.py``, not of a GPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from expander_theory.base import require
from experiments.bench.sae_peers import RATE, Dense, Size
from experiments.bench.sae_report import COMPARED, TOLERANCE
from experiments.bench.table import markdown
from sae_bridge.models import checked_device
from sae_bridge.training import Training, TrainingRun, World

SIZES = {
    "large": Size(2048, 16384, 32, 7, 1),
    "small": Size(576, 4608, 32, 8, 1),
    "wide": Size(2048, 65536, 32, 7, 1),
}


@dataclass(frozen=True)
class Benchmark:
    """Time training steps on a GPU."""

    sizes: tuple[Literal["large", "small", "wide"], ...] = ("large", "small", "wide")
    """large: m = 2048, n = 16,384, d = 7; small: m = 576, n = 4,608, d = 8; wide: n = 65,536."""
    batch: int = 4096
    """Tokens in a step."""
    repeats: int = 20
    """Steps that are timed, after three that are not; the median counts."""
    device: str = "cuda"
    """Torch device."""
    compiled: bool = True
    """Compile the dense SAE's step; without it plain torch is timed."""
    seed: int = 0
    """Of masks, initial weights and tokens."""

    def run(self) -> None:
        """Measure and print; exit with code 1 where answers differ.

        Raises:
            InvalidArgument: a number out of range, or a device that is not there.
        """
        for name in ("batch", "repeats"):
            require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
        device = checked_device(self.device)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        stream = _copy_rate(device)
        print(f"{name}, batch {self.batch:,}; a copy moves {stream / 1e9:,.0f} GB/s.")
        wrong = [fault for size in self.sizes for fault in self._compare(SIZES[size], device, stream)]
        if wrong:
            sys.exit("Answers differ:\n" + "\n".join(wrong))
        print("\nReconstructions and gradients agree.")

    def _compare(self, size: Size, device: torch.device, stream: float) -> list[str]:
        x = torch.randn(self.batch, size.m, generator=torch.Generator().manual_seed(self.seed)).to(device)
        how = Training(d=size.d, n=size.n, k=size.k, learning_rate=RATE, steps=1_000_000, seed=self.seed)
        training_run = TrainingRun(how, x.cpu(), device, World(), how.identity())
        dense = Dense(size, x.cpu(), self.seed)
        wrong = _differences(size, training_run, dense, x[:COMPARED].cpu())
        steps: dict[str, Callable[[], object]] = {"ours": lambda: training_run.advance(x)}
        dense.to(device)
        step = torch.compile(dense.step) if self.compiled else dense.step
        steps["dense, torch.compile" if self.compiled else dense.name] = lambda: step(x)
        rows, first = [], 0.0
        for name, work in steps.items():
            seconds, peak = _measured(work, self.repeats, device)
            first = first or seconds
            # Ours: eight passes over (B, m); weights, gradients and moments are small beside them.
            limit = f"{100 * 8 * x.nbytes / stream / seconds:.0f} %" if name == "ours" else ""
            numbers = [f"{1e3 * seconds:.2f}", f"{self.batch / seconds:,.0f}", f"{seconds / first:.1f}"]
            rows.append([name, *numbers, f"{peak / 1e6:,.0f}", limit])
        headers = ("step of", "ms", "tokens/s", "ratio", "peak MB", "share of the bandwidth limit")
        print(f"\n## {size.text}\n\n{markdown(rows, headers)}", flush=True)
        return wrong


def _differences(size: Size, training_run: TrainingRun, dense: Dense, x: Tensor) -> list[str]:
    sae = training_run.sae
    there = x.to(sae.device)
    out = sae.combine(*sae.code(there))
    (gradient,) = torch.autograd.grad((out - there).square().sum() / len(there), [sae.weight])
    expected, whole = dense.gradient(x)
    assert sae.rows is not None
    on_mask = whole.gather(1, sae.rows.cpu().long())
    apart = []
    for name, found, other in (("reconstruction", out, expected), ("gradient", gradient, on_mask)):
        error = float((found.detach().cpu() - other).norm() / other.norm())
        if not error < TOLERANCE:
            apart.append(f"{size.text}: {name} by {error:.1e} of its norm")
    return apart


def _measured(work: Callable[[], object], repeats: int, device: torch.device) -> tuple[float, int]:
    """Median seconds of a step, and the device's peak memory meanwhile (0 on a CPU)."""
    cuda = device.type == "cuda"
    for _ in range(3):
        work()
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2], torch.cuda.max_memory_allocated(device) if cuda else 0


def _copy_rate(device: torch.device) -> float:
    """Bytes/s that a copy reads and writes."""
    source = torch.ones(1 << 26, device=device)
    target = torch.empty_like(source)
    seconds, _ = _measured(lambda: target.copy_(source), 5, device)
    return 2 * source.nbytes / seconds


if __name__ == "__main__":
    import tyro

    tyro.cli(Benchmark).run()
