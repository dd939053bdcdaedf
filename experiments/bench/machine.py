"""The machine: description, and the rates that bound the solvers, as single-threaded numba or BLAS reaches them."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from experiments.bench.driver import Call, fastest
from experiments.bench.table import markdown

PACKAGES = (
    *("numpy", "scipy", "numba", "scikit-learn", "spams-bin", "orthogonal-matching-pursuit-gpu"),
    *("torch", "sae-lens", "eai-sparsify"),
)
LASTING = ("cpu_model_name", "cpu_count", "cpu_config", "platform", "python_version")
"""What pyperf says of a machine and does not change from one run to the next."""
_WORDS = 1 << 18
"""Reads, updates or loads of one timed call, at least."""
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
    """All rates, each the best of five interleaved runs of about ``seconds``; no array above ``largest`` bytes."""
    caches = cache_sizes()
    sizes = (caches[0] // 2, caches[1] // 2, min(8 * caches[1], caches[2] // 2), 4 * caches[2])
    words = np.ones(min(max(sizes), largest) // 8, np.int64)
    arrays = [words[: size // 8] for size in sizes]
    rng = np.random.default_rng(0)
    near, far = caches[0] // 16, caches[1] // 32
    places, farther = rng.integers(0, (near, far), (4096, 2), np.int32).T.copy()
    out, amounts = np.zeros(far, np.float32), rng.random(4096, np.float32)
    passes = [max(1, _WORDS // array.size) for array in arrays]  # or calling the loop would count
    many = _WORDS // places.size
    calls: dict[str, Call] = {
        "scatter": partial(_scatter, farther, amounts, out, many),
        "gather": partial(_gather, places, out, many),
    }
    for number, (array, count) in enumerate(zip(arrays, passes, strict=True)):
        calls[f"read {number}"] = partial(_read, array, count)
    for name in ("float32", "float64"):
        square = np.ones((512, 512), name)
        calls[name] = partial(np.matmul, square, square)
    spent = fastest(calls, shortest=seconds)
    read = [
        array.nbytes * count / spent[f"read {i}"] for i, (array, count) in enumerate(zip(arrays, passes, strict=True))
    ]
    scatter, gather = (many * places.size / spent[name] for name in ("scatter", "gather"))
    product = {name: 2 * 512**3 / spent[name] for name in ("float32", "float64")}
    return Rates(caches, (read[0], read[1], read[2], read[3]), scatter, gather, product)


def rates_table(rates: Rates) -> str:
    """The machine's measured rates."""
    names = ("L1", "L2", "L3", "memory")
    rows = [[f"read, {name}", f"{rate / 1e9:.0f} GB/s"] for name, rate in zip(names, rates.read, strict=True)]
    rows += [["scattered updates, L2", f"{rates.scatter / 1e9:.2f} G/s"]]
    rows += [["scalar loads, L1", f"{rates.gather / 1e9:.2f} G/s"]]
    rows += [[f"matrix product, {dtype}", f"{rate / 1e9:.0f} Gflop/s"] for dtype, rate in rates.product.items()]
    return markdown(rows, ("one core", "rate"))


def describe() -> dict[str, Any]:
    """The machine, as pyperf finds it, and the versions of what runs on it: what does not change between two runs."""
    found = _metadata()
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    return {**{name: found[name] for name in LASTING if name in found}, "packages": versions}


def headline() -> str:
    """The processor, and how busy it is with what else runs."""
    found = _metadata()
    model, count = found.get("cpu_model_name", found.get("platform")), found.get("cpu_count", "?")
    load = f"; load {found['load_avg_1min']}" if "load_avg_1min" in found else ""
    return f"{model}, {count} processors{load}"


def _metadata() -> dict[str, Any]:
    import pyperf  # of the bench extra

    return pyperf.Run([1.0]).get_metadata()


def cache_sizes() -> tuple[int, int, int]:
    """Bytes of the data caches L1, L2, L3 of the first processor (Linux), or usual sizes."""
    found: dict[int, int] = dict(enumerate(DEFAULT_CACHES, 1))
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (folder / "type").read_text().strip() != "Instruction":
            found[int((folder / "level").read_text())] = int((folder / "size").read_text().strip().rstrip("K")) << 10
    return found[1], found[2], found[3]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
