"""Claim: the correlation W^T r costs O(dn). Time and bytes against m, n and d: dense BLAS, scipy.sparse, ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.base import ExpanderTheoryError, progress_bar
from expander_theory.dictionaries import DenseDictionary, sign_dictionary
from expander_theory.masks import uniform_mask
from expander_theory.results import CostRecord, Ledger, MethodCost
from expander_theory.solvers import Prepared, omp
from experiments.bench.agreement import Judge
from experiments.bench.driver import Contender, measure
from experiments.bench.omp_peers import sparse_loop

METHODS = ("dense BLAS", "scipy.sparse", "ours")
SHORTEST = 0.01
"""Processor seconds of all threads: a shorter call is repeated until there are enough of them to measure."""


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


def run(scale: Scale, seed: int, folder: Path) -> None:
    """Measure every size that the ledger does not hold yet."""
    identity = {"kind": "cost", "seed": seed, **asdict(scale)}
    with Ledger(folder / "ledger.jsonl", identity) as ledger:
        done = {(record.m, record.n, record.d) for record in ledger.of(CostRecord)}
        todo = [size for size in dict.fromkeys(sizes(scale)) if size not in done]
        for m, n, d in progress_bar(todo, unit="size", desc="cost", show=bool(todo)):
            ledger.append(CostRecord(m, n, d, _measure(scale, m, n, d, seed)))


def sizes(scale: Scale) -> Iterator[tuple[int, int, int]]:
    """Every (m, n, d), the centre on each axis."""
    m0, n0, d0 = scale.centre
    yield from ((m, n0, d0) for m in scale.m)
    yield from ((m0, n, d0) for n in scale.n)
    yield from ((m0, n0, d) for d in scale.d)


def _measure(scale: Scale, m: int, n: int, d: int, seed: int) -> dict[str, MethodCost]:
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

    solvers = {name: solver(name, scale.k) for name in METHODS}
    _require_equal(correlations, solvers, Judge(w, signals, scale.k), (m, n, d))

    def contender(name: str) -> Contender:
        calls = {"correlation": correlations[name], "one step": solver(name, 1), "solve": solvers[name]}
        return Contender(name, scale.batch, lambda: calls)

    measured, _ = measure([contender(name) for name in METHODS], scale.repeats, shortest=SHORTEST)
    stored = {
        "dense BLAS": dense.nbytes,
        "scipy.sparse": _bytes(transposed),
        "ours": w.values.nbytes + w.mask.rows.nbytes,
    }
    found = {}
    for one in measured:
        found[one.name] = MethodCost(
            bytes=int(stored[one.name]),
            correlation=one.least("correlation") / scale.batch,
            correlation_median=one.median("correlation") / scale.batch,
            iteration=max(0.0, one.least("solve") - one.least("one step")) / scale.batch / (scale.k - 1),
            solve=one.least("solve") / scale.batch,
            solve_median=one.median("solve") / scale.batch,
        )
    return found


def _require_equal(
    correlations: dict[str, Callable[[], Any]],
    solvers: dict[str, Callable[[], Any]],
    judge: Judge,
    size: tuple[int, int, int],
) -> None:
    """Times of different answers say nothing."""
    reference = correlations["ours"]()
    for name, call in correlations.items():
        if not np.allclose(call(), reference, atol=1e-4):
            raise ExpanderTheoryError(f"the correlations of {name} and ours differ at (m, n, d) = {size}")
    ours = solvers["ours"]()
    for name, call in solvers.items():
        found = judge.between(ours, call())
        differing = found.theirs_wrong + found.ours_wrong
        if differing > 1 + found.compared // 10:  # float32 may lose a support without a near-tie
            raise ExpanderTheoryError(
                f"{differing} of {found.compared} supports of {name} differ at (m, n, d) = {size}"
            )


def _bytes(matrix: Any) -> int:
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
