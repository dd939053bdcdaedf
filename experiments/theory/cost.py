"""Claim: the correlation W^T r costs O(dn). Time and bytes against m, n and d: dense BLAS, scipy.sparse, ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expander_theory.base import ExpanderTheoryError, progress_bar
from expander_theory.dictionaries import DenseDictionary, sign_dictionary
from expander_theory.masks import uniform_mask
from expander_theory.results import Ledger
from expander_theory.solvers import Prepared, omp
from experiments.bench.references import sparse_loop

METHODS = ("dense BLAS", "scipy.sparse", "ours")
QUANTITIES = ("correlation", "iteration", "solve")


@dataclass(frozen=True)
class Scale:
    """Sizes: one of m, n, d moves along its axis, the others stay at the centre.

    Attributes:
        centre: (m, n, d).
        m, n, d: the axes.
        k: steps of OMP.
        batch: signals at a time.
        repeats: of every measurement, interleaved; the least counts, the others say how far to trust it.
    """

    centre: tuple[int, int, int]
    m: tuple[int, ...]
    n: tuple[int, ...]
    d: tuple[int, ...]
    k: int
    batch: int
    repeats: int


SCALES = {
    "quick": Scale(
        (1024, 8192, 8), (256, 512, 1024, 2048, 4096), (2048, 4096, 8192, 16384), (4, 8, 16, 32, 64), 16, 32, 3
    ),
    "full": Scale(
        (2048, 16384, 8), (256, 512, 1024, 2048, 4096), (4096, 8192, 16384, 32768, 65536), (4, 8, 16, 32, 64), 32, 32, 9
    ),
}


@dataclass(frozen=True)
class Cost:
    """Claim: the correlation W^T r costs O(dn). Processor time and bytes of correlation, OMP iteration and solve."""

    preset: Literal["quick", "full"] = "quick"
    """quick: about m = 1024, n = 8192, a minute. full: m = 2048, n up to 65,536, some minutes; 0.6 GB."""
    out: Path = Path("results")
    """Results folder; the ledger is `cost/ledger.jsonl`. Times are those of the machine that ran it."""
    seed: int = 0
    """Seed of masks, signs and codes."""

    def run(self) -> None:
        from expander_theory.plotting import draw_named

        run(SCALES[self.preset], self.seed, self.out / "cost")
        print(draw_named(self.out, "cost"))


def run(scale: Scale, seed: int, folder: Path) -> None:
    """Measure every size that the ledger does not hold yet."""
    identity = {"kind": "cost", "seed": seed, **asdict(scale)}
    with Ledger(folder / "ledger.jsonl", identity) as ledger:
        done = {(r["m"], r["n"], r["d"]) for r in ledger.records}
        todo = [size for size in dict.fromkeys(sizes(scale)) if size not in done]
        for m, n, d in progress_bar(todo, unit="size", desc="cost", show=bool(todo)):
            ledger.append({"m": m, "n": n, "d": d, "methods": _measure(scale, m, n, d, seed)})


def sizes(scale: Scale) -> Iterator[tuple[int, int, int]]:
    """Every (m, n, d), the centre on each axis."""
    m0, n0, d0 = scale.centre
    yield from ((m, n0, d0) for m in scale.m)
    yield from ((m0, n, d0) for n in scale.n)
    yield from ((m0, n0, d) for d in scale.d)


def _measure(scale: Scale, m: int, n: int, d: int, seed: int) -> dict[str, dict[str, Any]]:
    """Seconds a signal (least, median) of each quantity, and bytes, by method; answers are compared first."""
    w = sign_dictionary(uniform_mask(m, n, d, seed=seed), seed=seed).astype(np.float32)
    rng = np.random.default_rng(seed)
    codes = np.zeros((scale.batch, n), np.float32)
    for code in codes:
        code[rng.choice(n, scale.k, replace=False)] = rng.standard_normal(scale.k)
    signals = w.matvec(codes).astype(np.float32)
    transposed = w.to_scipy().T.tocsr()
    dense = np.ascontiguousarray(w.to_dense())
    correlations: dict[str, Callable[[], Any]] = {
        "dense BLAS": lambda: signals @ dense,
        "scipy.sparse": lambda: (transposed @ signals.T).T,
        "ours": lambda: w.rmatvec(signals),
    }
    ours, plain = Prepared(w, np.dtype(np.float32)), Prepared(DenseDictionary(dense.T.copy()), np.dtype(np.float32))

    def solver(method: str, k: int) -> Callable[[], Any]:
        if method == "scipy.sparse":
            return lambda: sparse_loop(transposed, signals, k)
        prepared = ours if method == "ours" else plain
        return lambda: omp(prepared, signals, k).indices

    _require_equal(correlations, {name: solver(name, scale.k) for name in METHODS}, (m, n, d))
    timed: dict[tuple[str, str], Callable[[], Any]] = {}
    for name in METHODS:
        timed[name, "correlation"] = correlations[name]
        timed[name, "one step"] = solver(name, 1)
        timed[name, "solve"] = solver(name, scale.k)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in timed}
    for _ in range(scale.repeats):
        for key, call in timed.items():
            seconds[key].append(_per_call(call) / scale.batch)
    stored = {
        "dense BLAS": dense.nbytes,
        "scipy.sparse": _bytes(transposed),
        "ours": w.values.nbytes + w.mask.rows.nbytes,
    }
    found = {}
    for name in METHODS:
        solve, first = min(seconds[name, "solve"]), min(seconds[name, "one step"])
        found[name] = {
            "bytes": int(stored[name]),
            "correlation": min(seconds[name, "correlation"]),
            "correlation_median": float(np.median(seconds[name, "correlation"])),
            "iteration": max(0.0, solve - first) / (scale.k - 1),
            "solve": solve,
            "solve_median": float(np.median(seconds[name, "solve"])),
        }
    return found


def _per_call(call: Callable[[], Any], least: float = 0.01) -> float:
    """Processor seconds of one call (all threads), repeated until there are enough of them to measure."""
    count = 1
    while True:
        begun = time.process_time()
        for _ in range(count):
            call()
        spent = time.process_time() - begun
        if spent >= least:
            return spent / count
        count *= 4


def _require_equal(
    correlations: dict[str, Callable[[], Any]], solvers: dict[str, Callable[[], Any]], size: tuple[int, int, int]
) -> None:
    """Times of different answers say nothing."""
    reference = correlations["ours"]()
    for name, call in correlations.items():
        if not np.allclose(call(), reference, atol=1e-4):
            raise ExpanderTheoryError(f"the correlations of {name} and ours differ at (m, n, d) = {size}")
    supports = {name: np.sort(call(), axis=1) for name, call in solvers.items()}
    for name, found in supports.items():
        differing = int((found != supports["ours"]).any(axis=1).sum())
        if differing > 1 + len(found) // 10:  # a near-tie may be decided by rounding
            raise ExpanderTheoryError(f"{differing} of {len(found)} supports of {name} differ at (m, n, d) = {size}")


def _bytes(matrix: Any) -> int:
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
