"""Claim: an expander SAE trains faster and in less memory than dense TopK SAEs of the same (m, n, k).

``python -m experiments.bench.sae`` prints Markdown tables of whole training steps: forward, backward, optimiser. All
SAEs start at the same decoder, and their reconstructions and gradients there are compared; the exit code is 1 where
they differ. The sizes that end in ``pursuit`` time steps with OMP in the loop, beside TopK and beside matching pursuit.
SAELens and sparsify are timed where they are installed (``pip install -e ".[sae,interop,bench]"``). Times are wall
times: leave the machine alone meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from expander_theory.base import require
from experiments.bench import table
from experiments.bench.command import Benchmark, Case, Record, main, measured_in
from experiments.bench.driver import MEMORY, fastest, measure, peak_bytes
from experiments.bench.machine import Rates, describe, headline, measure_rates
from experiments.bench.sae_peers import (
    CONTENDERS,
    CPU,
    Dense,
    Ours,
    OursMatchingPursuit,
    OursOMP,
    SAELensMatchingPursuit,
    Size,
    answers_apart,
    pursuit_faults,
)
from sae_bridge import kernels

SIZES = {
    "large": Size(2048, 16384, 32, 7, 20),
    "small": Size(576, 4608, 32, 8, 5),
    "wide": Size(2048, 65536, 32, 7, 10),
    "large-pursuit": Size(2048, 16384, 32, 7, 50),
    "small-pursuit": Size(576, 4608, 32, 8, 50),
}
OMP_GOAL = 2
"""How many times a TopK step a step with OMP may take."""
PURSUIT_SHARE = 16
"""Matching pursuit gets the tokens of a batch divided by this: a dense one takes k products a step, and minutes."""
TILE_BYTES = 64
"""The encoder reads, for every entry of the mask, one line of a tile of tokens: m lines, held in the cache."""


@dataclass(frozen=True)
class SAEBenchmark(Benchmark):
    """Time training steps of expander SAEs beside dense ones: plain torch, SAELens, sparsify."""

    title = "SAE benchmark"
    sizes: tuple[Literal["large", "small", "wide", "large-pursuit", "small-pursuit"], ...] = (
        "large",
        "small",
        "wide",
        "large-pursuit",
        "small-pursuit",
    )
    """large: m = 2048, n = 16,384, d = 7; small: m = 576, n = 4,608, d = 8; wide: memory at n = 65,536, for which the
    dense step needs some 6 GB; with -pursuit: OMP in the loop, beside TopK and matching pursuit."""
    batch: int = 2048
    """Tokens in a step, the same for all contenders."""
    threads: int = 2
    """Of all contenders."""

    @property
    def identity(self) -> Record:
        return {**super().identity, "batch": self.batch, "threads": self.threads, "machine": describe()}

    def check(self) -> None:
        super().check()
        for name in ("batch", "threads"):
            require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")

    def cases(self) -> list[Case]:
        torch.set_num_threads(self.threads)
        rates = measure_rates()
        print(f"{headline()}; {self.threads} threads. Memory: {MEMORY}.")
        absent = [kind.name for kind in CONTENDERS if not kind.installed()]
        if absent:
            print(f"Not installed: {', '.join(absent)} (pip install 'expander-theory[interop]').")
        return [Case({"size": name}, lambda name=name: self._measure(name, rates)) for name in self.sizes]

    def _measure(self, name: str, rates: Rates) -> Record:
        size = SIZES[name]
        x = torch.randn(self.batch, size.m, generator=torch.Generator().manual_seed(self.seed))
        if name == "wide":  # a second step of each, in the run that measures memory
            contenders = [kind.contender(size, x, self.seed, once=True) for kind in (Ours, Dense)]
            measured, _ = measure(contenders, 0, clock=time.perf_counter, peak=peak_bytes)
            return {"measured": [asdict(one) for one in measured], "faults": []}
        if name.endswith("pursuit"):
            return self._measure_pursuits(size, x)
        kinds = [kind for kind in CONTENDERS if kind.installed()]
        faults = answers_apart(kinds[1:], size, x, self.seed, CPU)
        contenders = [kind.contender(size, x, self.seed) for kind in kinds]
        measured, _ = measure(contenders, self.repeats, clock=time.perf_counter, peak=peak_bytes)
        found = parts(size, Ours(size, x, self.seed), x, rates)
        return {
            "measured": [asdict(one) for one in measured],
            "parts": [asdict(part) for part in found],
            "faults": faults,
        }

    def _measure_pursuits(self, size: Size, x: Tensor) -> Record:
        few = x[: -(-len(x) // PURSUIT_SHARE)]
        contenders = [kind.contender(size, x, self.seed) for kind in (Ours, OursOMP)]
        for kind in (OursOMP, OursMatchingPursuit, SAELensMatchingPursuit):
            if kind.installed():
                one = kind.contender(size, few, self.seed, steps=int(kind.compiles))
                contenders.append(replace(one, name=f"{kind.name}, few tokens"))
        measured, _ = measure(contenders, self.repeats, clock=time.perf_counter, peak=peak_bytes)
        return {"measured": [asdict(one) for one in measured], "faults": pursuit_faults(size, few, self.seed)}

    @staticmethod
    def _show_pursuits(record: Record) -> str:
        size, (topk, omp, *others) = SIZES[record["size"]], measured_in(record)
        compared = {topk.name: topk, omp.name: topk, **{one.name: others[0] for one in others}}

        def ratio(one: Any) -> float:
            return one.least("step") / compared[one.name].least("step")

        def verdict(one: Any) -> str:
            if one is omp:
                return f"goal at most {OMP_GOAL}: {'reached' if ratio(one) <= OMP_GOAL else 'missed'}"
            theirs = one.name.startswith(SAELensMatchingPursuit.name)
            return f"goal {size.goal:g}: {'reached' if ratio(one) >= size.goal else 'missed'}" if theirs else ""

        columns: dict[str, Callable[[Any], str]] = {
            "step of": table.name,
            "batch": table.batch,
            "ms (IQR)": table.milliseconds("step"),
            "tokens/s": table.per_second("step"),
            "peak MB, with the SAE": table.peak,
            "times the first of its batch": lambda one: f"{ratio(one):.1f}",
            "": verdict,
        }
        absent = "" if SAELensMatchingPursuit.installed() else "\n\nSAELens's matching pursuit is not installed."
        return f"## {size.text}: pursuits\n\n{table.table([topk, omp, *others], columns)}{absent}"

    def show(self, record: Record) -> str:
        if record["size"].endswith("pursuit"):
            return self._show_pursuits(record)
        size, measured = SIZES[record["size"]], measured_in(record)
        first, memory = measured[0], "parts" not in record

        def ratio(one: Any) -> float:
            return one.peak / first.peak if memory else one.least("step") / first.least("step")

        columns: dict[str, Callable[[Any], str]] = {
            "step of": table.name,
            "batch": table.batch,
            "ms (IQR)": table.milliseconds("step"),
            "tokens/s": table.per_second("step"),
            "peak MB, with the SAE": table.peak,
            f"ratio of {'memory' if memory else 'times'} (goal {size.goal:g})": lambda one: f"{ratio(one):.1f}",
            "": lambda one: "" if one is first else "reached" if ratio(one) >= size.goal else "missed",
        }
        text = f"## {size.text}\n\n{table.table(measured, columns)}"
        return text if memory else f"{text}\n\n{parts_table([Part(**part) for part in record['parts']])}"


@dataclass(frozen=True)
class Part:
    """One part of our step, beside the time in which its bytes could be moved.

    Attributes:
        name: of the part.
        seconds: measured, the least of a few.
        streamed: bytes that have to come from or go to memory once.
        gathered: bytes that are read or written at places that the mask or the code gives.
        limit: seconds in which both could be moved, one after the other.
    """

    name: str
    seconds: float
    streamed: float
    gathered: float
    limit: float


def parts(size: Size, ours: Ours, x: Tensor, rates: Rates) -> list[Part]:
    """Every part of a step; the last is what is left of the whole."""
    sae = ours.training_run.sae
    weight, bias, rows = sae.weight.detach(), sae.b_enc.detach(), sae.rows
    assert rows is not None
    loops, (batch, m), k = kernels.backend(x), x.shape, sae.k
    acts, indices = loops.encode(x, weight, rows, bias, k)
    tokens, code = x.nbytes, acts.nbytes + indices.nbytes
    table_bytes, entries = weight.nbytes + rows.nbytes, batch * k * size.d
    chosen = entries * (weight.itemsize + rows.itemsize)
    lines = -(-batch * x.itemsize // TILE_BYTES) * size.n * size.d * TILE_BYTES
    decode = partial(loops.combine, acts, indices, weight, rows, m)
    accumulate = partial(loops.accumulate, acts, indices, x, weight, rows)
    encode, pull = partial(loops.encode, x, weight, rows, bias, k), partial(loops.pull, x, indices, weight, rows)
    source, target = torch.ones(1 << 26), torch.ones(1 << 26)  # which no cache holds
    # By part: work, bytes streamed, bytes gathered, and bytes of the array gathered from, which says from what cache.
    work: dict[str, tuple[Callable[[], Any], float, float, float]] = {
        "encode": (encode, tokens + code, lines, m * TILE_BYTES),
        "decode": (decode, tokens + code, chosen, table_bytes),
        "gradient of the codes": (pull, tokens + code, chosen, table_bytes),
        "gradient of W, decoder": (accumulate, tokens + code, chosen, table_bytes),
        "gradient of W, encoder": (accumulate, tokens + code, chosen, table_bytes),
        "gradient of b_dec": (decode, tokens + code, chosen, table_bytes),
        "Adam on W": (_adam(ours), 7 * weight.nbytes, 0, 1),
    }
    calls = {name: call for name, (call, *_) in work.items()}
    calls |= {"whole": lambda: ours.step(x), "stream": lambda: target.add_(source)}
    spent = fastest(calls, clock=time.perf_counter)
    stream = 3 * source.nbytes / spent["stream"]  # two arrays are read, one is written
    threads, found = torch.get_num_threads(), []
    for name, (_, streamed, gathered, among) in work.items():
        limit = streamed / stream + rates.read_seconds(gathered, among) / threads
        found.append(Part(name, spent[name], streamed, gathered, limit))
    rest = spent["whole"] - sum(part.seconds for part in found)
    # s h - b_dec, the residual, its square, and their gradients: at least eight passes over (B, m).
    return [*found, Part("rest: residual, loss, norms, counts", rest, 8 * tokens, 0, 8 * tokens / stream)]


def _adam(ours: Ours) -> Callable[[], Any]:
    parameter = torch.nn.Parameter(ours.training_run.sae.weight.detach().clone())
    parameter.grad = torch.ones_like(parameter)
    return torch.optim.Adam([parameter], fused=True).step


def parts_table(found: list[Part]) -> str:
    """A row for each part."""
    rows = []
    for part in found:
        moved = [f"{part.streamed / 1e6:.1f}", f"{part.gathered / 1e6:,.1f}"]
        share = f"{100 * part.limit / part.seconds:.0f} %"
        rows.append([part.name, f"{1e3 * part.seconds:.2f}", *moved, f"{1e3 * part.limit:.2f}", share])
    return table.markdown(rows, ("part of our step", "ms", "MB streamed", "MB gathered", "ms to move them", "share"))


if __name__ == "__main__":
    main(SAEBenchmark)
