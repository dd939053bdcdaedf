"""Every solver that is timed: ours, peers from the ``bench`` extra, and the two short references."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expander_theory.solvers import Backend, Prepared, omp
from experiments.bench.references import sparse_loop, structured_numpy
from experiments.bench.sizes import Problem, Size

Solve = Callable[[int], Any]
"""Solves that many of the first signals of a problem."""


@dataclass(frozen=True)
class Solver:
    """One solver.

    Attributes:
        key: its entry of ``Size.signals``.
        start: puts the dictionary in the layout that the solver takes (not timed).
        supports: the supports in what it returned: (batch, k) in any order, -1 where there are fewer.
        package: the import that it needs from the ``bench`` extra.
        setup: "none"; "kept": the first call prepares what later calls find; "hidden": every call prepares.
        same_rule: whether it selects as OMP does.
        gram: copies of the (n, n) Gram matrix that it holds at once, if it forms one.
        gram_signals, gram_columns: it forms one for at least so many signals, and for fewer columns than this.
    """

    key: str
    name: str
    start: Callable[[Problem], Solve]
    supports: Callable[[Any, int], NDArray[np.integer]]
    package: str = ""
    setup: Literal["none", "kept", "hidden"] = "none"
    same_rule: bool = True
    gram: int = 0
    gram_signals: int = 1
    gram_columns: float = math.inf

    @property
    def missing(self) -> bool:
        """Whether its package is not installed."""
        return bool(self.package) and importlib.util.find_spec(self.package) is None

    def forms_gram(self, size: Size, count: int) -> bool:
        """Whether it forms the Gram matrix for so many signals."""
        return self.gram > 0 and count >= self.gram_signals and size.n < self.gram_columns


def ours(backend: Backend = "auto") -> Solver:
    """This project's OMP. What a backend prepares (row lists, Gram matrix) counts as set-up, as it does for peers."""

    def start(problem: Problem) -> Solve:
        dictionary, kept = problem.fresh_dictionary(), []

        def solve(count: int) -> Any:
            if not kept:
                kept.append(Prepared(dictionary, problem.dtype))
            return omp(kept[0], problem.signals[:count], problem.k, backend=backend)

        return solve

    return Solver("ours", f"ours ({backend})", start, lambda found, _: found.indices, setup="kept")


def _spams(problem: Problem) -> Solve:
    import spams  # pyright: ignore[reportMissingImports] (the bench extra)

    dense = problem.dense("F")
    given = {"L": problem.k, "eps": 0.0}  # in float32 its default for eps is whatever the memory held
    return lambda count: spams.omp(problem.signals[:count].T, dense, numThreads=1, **given)


def _naive(problem: Problem) -> Solve:
    import torch
    from orthogonal_matching_pursuit_gpu import run_omp  # pyright: ignore[reportMissingImports] (the bench extra)

    torch.set_num_threads(1)
    dense, signals = torch.from_numpy(problem.dense("C")), torch.from_numpy(problem.signals)
    unit: dict[str, Any] = {"normalize": False, "fit_intercept": False, "precompute": None}
    return lambda count: run_omp(dense, signals[:count], problem.k, alg="naive", **unit)


def _orthogonal_mp(problem: Problem) -> Solve:
    from sklearn.linear_model import orthogonal_mp

    dense = problem.dense("F")
    return _quietly(lambda count: orthogonal_mp(dense, problem.signals[:count].T, n_nonzero_coefs=problem.k))


def _orthogonal_mp_gram(problem: Problem) -> Solve:
    from sklearn.linear_model import orthogonal_mp_gram

    dense, kept = problem.dense("F"), []

    def solve(count: int) -> Any:
        if not kept:
            kept.append(dense.T @ dense)
        return orthogonal_mp_gram(kept[0], dense.T @ problem.signals[:count].T, n_nonzero_coefs=problem.k)

    return _quietly(solve)


def _quietly(solve: Solve) -> Solve:
    """scikit-learn warns where it stops early; the comparison of supports shows it."""

    def quiet(count: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return solve(count)

    return quiet


def _sparse(problem: Problem) -> Solve:
    transposed = problem.dictionary.to_scipy().T.tocsr()
    return lambda count: sparse_loop(transposed, problem.signals[:count], problem.k)


def _structured(problem: Problem) -> Solve:
    w = problem.dictionary
    return lambda count: structured_numpy(w.mask.rows, w.values, problem.signals[:count], problem.k)


def _of_codes(codes: Any, k: int) -> NDArray[np.integer]:
    """Supports of dense codes (batch, n)."""
    return _padded([np.flatnonzero(code) for code in np.asarray(codes)], k)


def _of_columns(codes: Any, k: int) -> NDArray[np.integer]:
    """Supports of dense codes (n, batch), or (n,)."""
    return _of_codes(np.asarray(codes).reshape(len(codes), -1).T, k)


def _of_sparse(codes: Any, k: int) -> NDArray[np.integer]:
    """Supports of a CSC matrix of codes (n, batch)."""
    return _padded(np.split(codes.indices, codes.indptr[1:-1]), k)


def _padded(supports: list[NDArray[np.integer]], k: int) -> NDArray[np.integer]:
    out = np.full((len(supports), k), -1)
    for row, support in zip(out, supports, strict=True):
        row[: support.size] = support
    return out


PEERS = (
    Solver("spams", "SPAMS", _spams, _of_sparse, "spams", "hidden", False, 1, 11, 25_000),
    Solver("naive", "omp-gpu naive", _naive, _of_codes, "orthogonal_matching_pursuit_gpu"),
    Solver("mp", "scikit-learn mp", _orthogonal_mp, _of_columns, "sklearn"),
    Solver("mp_gram", "scikit-learn mp_gram", _orthogonal_mp_gram, _of_columns, "sklearn", "kept", gram=3),
    Solver("sparse", "scipy.sparse loop", _sparse, lambda found, _: found),
    Solver("structured", "structured NumPy", _structured, lambda found, _: found),
)


@dataclass(frozen=True)
class Budget:
    """What a solver may take: memory in bytes, and seconds for the Gram matrix."""

    memory: float
    gram_seconds: float


def plan(solver: Solver, size: Size, dtype: np.dtype[Any], budget: Budget, flops: float) -> tuple[int, str]:
    """How many signals the solver gets, and a remark; 0 signals where it is not run, and why.

    Args:
        flops: flop/s of matrix products on this machine.
    """
    count = size.signals[solver.key]
    if solver.missing:
        return 0, f"{solver.package} is not installed: pip install 'expander-theory[bench]'"
    dense = 2 * size.m * size.n * dtype.itemsize if solver.package else 0
    gram = solver.gram * size.n**2 * dtype.itemsize if solver.forms_gram(size, count) else 0
    seconds = size.m * size.n**2 / flops if gram else 0.0
    if dense + gram <= budget.memory and seconds <= budget.gram_seconds:
        return count, ""
    reason = f"about {(dense + gram) / 2**30:.1f} GiB" + (f" and {seconds:.0f} s for the Gram matrix" if gram else "")
    if solver.gram_signals > 1 and dense <= budget.memory:
        return solver.gram_signals - 1, f"so few signals that it forms no Gram matrix (which takes {reason})"
    return 0, f"infeasible: {reason}"
