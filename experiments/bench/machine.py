"""The machine: description, and the rates that bound the solvers, as single-threaded numba or BLAS reaches them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

PACKAGES = (
    *("numpy", "scipy", "numba", "scikit-learn", "spams-bin", "orthogonal-matching-pursuit-gpu"),
    *("torch", "sae-lens", "eai-sparsify"),
)
DEFAULT_CACHES = (32 << 10, 1 << 20, 16 << 20)
"""Sizes of L1, L2 and L3 that are assumed where the system does not tell them."""


@dataclass(frozen=True)
class Rates:
    """Measured rates of one core.

    Attributes:
        caches: bytes of L1, L2 and L3.
        read: bytes/s of a streaming read of arrays that fit L1, L2, L3, and that do not fit (or of the largest tried).
        scatter: updates/s of y[i] += x with random i in an eighth of L2, float32.
        gather: loads/s of y[i] with random i in L1, float32, added up.
        product: flop/s of a matrix product, by dtype.
    """

    caches: tuple[int, int, int]
    read: tuple[float, float, float, float]
    scatter: float
    gather: float
    product: dict[str, float]

    def read_seconds(self, amount: float, size: float) -> float:
        """Time to read ``amount`` bytes at random places of ``size`` bytes: caches serve the shares that they hold."""
        held = [min(1.0, cache / size) for cache in self.caches] + [1.0]
        shares = np.diff(held, prepend=0.0)
        return float((amount * shares / self.read).sum())


@njit(cache=True)
def _read(words, passes):
    total = np.int64(0)
    for _ in range(passes):
        for i in range(words.size):
            total += words[i]
        total ^= words[0]  # or the passes would be folded into one
    return total


@njit(cache=True)
def _scatter(places, amounts, out, passes):
    for _ in range(passes):
        for i in range(places.size):
            out[places[i]] += amounts[i]


@njit(cache=True)
def _gather(places, entries, passes):
    a = b = c = d = entries.dtype.type(0)  # four sums, so that additions do not wait for each other
    for _ in range(passes):
        for i in range(0, places.size, 4):
            a += entries[places[i]]
            b += entries[places[i + 1]]
            c += entries[places[i + 2]]
            d += entries[places[i + 3]]
    return a + b + c + d


def measure_rates(seconds: float = 0.02, largest: int = 1 << 29) -> Rates:
    """All rates, each the best of five runs of about ``seconds``; no array above ``largest`` bytes."""
    caches = cache_sizes()
    sizes = (caches[0] // 2, caches[1] // 2, min(8 * caches[1], caches[2] // 2), 4 * caches[2])
    words = np.ones(min(max(sizes), largest) // 8, np.int64)
    arrays = [words[: size // 8] for size in sizes]
    read = [_rate(lambda passes, w=array: _read(w, passes), array.nbytes, seconds) for array in arrays]
    rng = np.random.default_rng(0)
    near, far = caches[0] // 16, caches[1] // 32
    places, farther = rng.integers(0, (near, far), (4096, 2), np.int32).T.copy()
    out, amounts = np.zeros(far, np.float32), rng.random(4096, np.float32)
    scatter = _rate(lambda passes: _scatter(farther, amounts, out, passes), 4096, seconds)
    gather = _rate(lambda passes: _gather(places, out, passes), 4096, seconds)
    product = {name: _product_rate(np.dtype(name), seconds) for name in ("float32", "float64")}
    return Rates(caches, (read[0], read[1], read[2], read[3]), scatter, gather, product)


def describe(rates: Rates) -> dict[str, Any]:
    """The machine and the versions of what runs on it, for a results file."""
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    system = {"processor": _processor(), "system": platform.system(), "python": platform.python_version()}
    return {**system, "packages": versions, "rates": asdict(rates)}


def cache_sizes() -> tuple[int, int, int]:
    """Bytes of the data caches L1, L2, L3 of the first processor (Linux), or usual sizes."""
    found: dict[int, int] = dict(enumerate(DEFAULT_CACHES, 1))
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (folder / "type").read_text().strip() != "Instruction":
            found[int((folder / "level").read_text())] = int((folder / "size").read_text().strip().rstrip("K")) << 10
    return found[1], found[2], found[3]


def _rate(work: Callable[[int], object], units: int, seconds: float) -> float:
    """Units a second of CPU time of work(passes), which does ``units`` a pass."""
    work(1)
    passes = 1
    while (spent := _timed(work, passes)) < seconds:
        passes = max(2 * passes, int(passes * seconds / max(spent, 1e-6)))
    return passes * units / min(spent, *(_timed(work, passes) for _ in range(4)))


def _timed(work: Callable[[int], object], passes: int) -> float:
    begun = time.process_time()
    work(passes)
    return time.process_time() - begun


def _product_rate(dtype: np.dtype[Any], seconds: float) -> float:
    a = np.ones((512, 512), dtype)
    return _rate(lambda passes: [a @ a for _ in range(passes)], 2 * 512**3, seconds)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.processor()}, {os.cpu_count()} cores"
