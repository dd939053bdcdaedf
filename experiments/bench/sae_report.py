"""The tables of the SAE benchmark: steps beside those of peers, parts beside their limits, memory at large n."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from experiments.bench.machine import Rates
from experiments.bench.memory import peak_bytes
from experiments.bench.sae_parts import parts
from experiments.bench.sae_peers import CONTENDERS, Contender, Dense, Ours, Size
from experiments.bench.table import markdown

COMPARED = 256
"""Tokens for which answers are compared."""
TOLERANCE = 1e-3
"""Of the norm of the answer: float32 sums in another order."""

Append = Callable[[dict[str, Any]], None]


def compare_steps(size: Size, x: Tensor, repeats: int, seed: int, rates: Rates, append: Append) -> list[str]:
    """Time all contenders in turn, print the table and that of our parts; the answers that differ."""
    Ours(size, x, seed).step(x)  # compiles
    kinds = [kind for kind in CONTENDERS if kind.installed()]
    expected = Ours(size, x, seed).gradient(x[:COMPARED])
    running: list[Contender] = []
    peaks, wrong = [], []
    for kind in kinds:
        found = kind(size, x, seed).gradient(x[:COMPARED])
        wrong += [f"{size.text}: {kind.name}, {what}" for what in _differences(expected, found)]
        del found
        peaks.append(peak_bytes(lambda kind=kind: running.append(_started(kind, size, x, seed))))
    times = [[_seconds(lambda one=one: one.step(x)) for one in running] for _ in range(repeats)]
    least = [min(spent) for spent in zip(*times, strict=True)]
    rows = []
    for kind, seconds, peak in zip(kinds, least, peaks, strict=True):
        ratio = seconds / least[0]
        verdict = "" if kind is Ours else "reached" if ratio >= size.goal else "missed"
        rows.append([kind.name, f"{1e3 * seconds:,.1f}", f"{len(x) / seconds:,.0f}", f"{ratio:.1f}", verdict])
        rows[-1].append(f"{peak / 1e6:,.0f}")
        append({"size": asdict(size), "contender": kind.name, "seconds": seconds, "peak_bytes": peak})
    headers = ("step of", "ms", "tokens/s", f"ratio (goal {size.goal:g})", "", "peak MB, with the SAE")
    print(f"\n## {size.text}\n\n{markdown(rows, headers)}", flush=True)
    absent = [kind.name for kind in CONTENDERS if kind not in kinds]
    if absent:
        print(f"\nNot installed: {', '.join(absent)}.")
    del running[1:]
    _print_parts(size, running[0], x, rates, append)
    return wrong


def compare_memory(size: Size, x: Tensor, seed: int, append: Append) -> None:
    """Two steps of ours and of the plain dense SAE: time of the second, and peak memory with the SAE itself."""
    rows, first = [], 0
    for kind in (Ours, Dense):
        seconds: list[float] = []

        def work(kind: type[Contender] = kind, seconds: list[float] = seconds) -> None:
            one = _started(kind, size, x, seed)
            seconds.append(_seconds(lambda: one.step(x)))

        peak = peak_bytes(work)
        first = first or peak
        rows.append([kind.name, f"{1e3 * seconds[0]:,.0f}", f"{peak / 1e6:,.0f}", f"{peak / first:.1f}"])
        append({"size": asdict(size), "contender": kind.name, "seconds": seconds[0], "peak_bytes": peak})
    headers = ("step of", "ms", "peak MB, with the SAE", f"ratio of memory (goal {size.goal:g})")
    print(f"\n## Memory: {size.text}\n\n{markdown(rows, headers)}", flush=True)


def _print_parts(size: Size, ours: Contender, x: Tensor, rates: Rates, append: Append) -> None:
    assert isinstance(ours, Ours)
    rows = []
    for part in parts(size, ours, x, rates):
        moved = [f"{part.streamed / 1e6:.1f}", f"{part.gathered / 1e6:,.1f}"]
        share = f"{100 * part.limit / part.seconds:.0f} %"
        rows.append([part.name, f"{1e3 * part.seconds:.2f}", *moved, f"{1e3 * part.limit:.2f}", share])
        append({"size": asdict(size), **asdict(part)})
    headers = ("part of our step", "ms", "MB streamed", "MB gathered", "ms to move them", "share")
    print(f"\n{markdown(rows, headers)}", flush=True)


def _started(kind: type[Contender], size: Size, x: Tensor, seed: int) -> Contender:
    """With one step done: moments exist then."""
    one = kind(size, x, seed)
    one.step(x)
    return one


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _differences(expected: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]) -> list[str]:
    """Where two answers differ by more than rounding; gradients on the mask, outside of which ours is 0."""
    (out, gradient), (other_out, other_gradient) = expected, found
    apart = []
    for name, a, b in (("reconstruction", out, other_out), ("gradient", gradient, other_gradient * (gradient != 0))):
        error = float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(a))
        if not error < TOLERANCE:
            apart.append(f"{name} by {error:.1e} of its norm")
    return apart
