"""Every OMP that is timed: ours, peers from the ``bench`` extra, and two short ones that many write for themselves."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expander_theory.dictionaries import Floats
from expander_theory.solvers import Backend, Prepared, omp
from experiments.bench.driver import Call, Contender
from experiments.bench.sizes import SIZES, Problem, Size, make_problem

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
        setup: "none"; "kept": the first call prepares what later calls find; "hidden": every call prepares, and a
            second call with ``gram_signals`` signals tells how long that takes.
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

    def contender(self, problem: Problem, batch: int, once: bool) -> Contender:
        """For the driver, with the parts "whole", and "again" (set-up kept) or "fewer" (set-up hidden)."""

        def prepare() -> dict[str, Call]:
            solve = self.start(problem)
            calls: dict[str, Call] = {"whole": lambda: solve(batch)}
            if self.setup == "kept":
                calls["again"] = lambda: solve(batch)
            elif self.setup == "hidden" and self.forms_gram(problem.size, batch):
                calls["fewer"] = lambda: solve(self.gram_signals)
            return calls

        compiles = self.key == "ours"  # with the whole batch: its size is part of the choice of a backend
        return Contender(self.name, batch, prepare, lambda found: self.supports(found, problem.k), True, compiles, once)

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


SOLVERS = {solver.name: solver for solver in (ours(), *PEERS)}


def plan(solver: Solver, size: Size, dtype: np.dtype[Any], memory: float) -> tuple[int, str]:
    """The signals of a call, and a remark; 0 signals where the solver is not run, and why.

    Args:
        memory: bytes that a solver may need.
    """
    count = size.signals[solver.key]
    if solver.missing:
        return 0, f"{solver.package} is not installed: pip install 'expander-theory[bench]'"
    dense = 2 * size.m * size.n * dtype.itemsize if solver.package else 0
    gram = solver.gram * size.n**2 * dtype.itemsize if solver.forms_gram(size, count) else 0
    if dense + gram > memory:
        return 0, f"infeasible: about {(dense + gram) / 2**30:.1f} GiB"
    remarks = ["timed once, in the call that measures memory"] if solver.key in size.once else []
    if solver.gram and not gram:
        remarks.append(f"forms no Gram matrix of {size.n:,} columns")
    return count, "; ".join(remarks)


def warm_up(dtype: str) -> None:
    """Two small signals for every installed solver, so that none is timed while it loads."""
    problem = make_problem(SIZES["A"], 2, np.dtype(dtype), seed=0)
    for solver in PEERS:
        if not solver.missing:
            solver.start(problem)(2)


def sparse_loop(transposed: Any, signals: Floats, k: int) -> NDArray[np.int64]:
    """A scipy.sparse matrix-vector product a step, and the normal equations of the chosen atoms.

    Args:
        transposed: W^T as ``scipy.sparse.csr_array`` (n, m).

    Returns:
        (batch, k) atoms in the order of selection.
    """
    chosen = np.empty((len(signals), k), np.int64)
    for h, support in zip(signals, chosen, strict=True):
        atoms = np.zeros((k, h.size), h.dtype)
        gram, target, residual = np.zeros((k, k), h.dtype), np.zeros(k, h.dtype), h
        for t in range(k):
            scores = np.abs(transposed @ residual)
            scores[support[:t]] = -1
            atom = support[t] = scores.argmax()
            entries = slice(transposed.indptr[atom], transposed.indptr[atom + 1])
            atoms[t, transposed.indices[entries]] = transposed.data[entries]
            gram[t, : t + 1] = gram[: t + 1, t] = atoms[: t + 1] @ atoms[t]
            target[t] = atoms[t] @ h
            residual = h - np.linalg.solve(gram[: t + 1, : t + 1], target[: t + 1]) @ atoms[: t + 1]
    return chosen


def structured_numpy(rows: NDArray[np.int32], values: Floats, signals: Floats, k: int) -> NDArray[np.int64]:
    """The structured OMP with QR of Expander Sparse Autoencoders (arXiv 2607.01799), in plain NumPy.

    Correlations by gather and sum over d, residual by Gram-Schmidt. One change: the paper's code takes the largest
    signed correlation, which recovers no signed code; here it is the largest modulus.

    Returns:
        (batch, k) atoms in the order of selection.
    """
    chosen = np.empty((len(signals), k), np.int64)
    for h, support in zip(signals, chosen, strict=True):
        basis, triangle, projections = np.zeros((h.size, k), h.dtype), np.zeros((k, k), h.dtype), np.zeros(k, h.dtype)
        residual = h.copy()
        for t in range(k):
            scores = np.abs((values * residual[rows]).sum(axis=1))
            scores[support[:t]] = -1
            atom = support[t] = scores.argmax()
            column = np.zeros_like(h)
            column[rows[atom]] = values[atom]
            triangle[:t, t] = basis[:, :t].T @ column
            column -= basis[:, :t] @ triangle[:t, t]
            triangle[t, t] = np.linalg.norm(column)
            basis[:, t] = column / triangle[t, t]
            projections[t] = basis[:, t] @ h
            residual -= projections[t] * basis[:, t]
        np.linalg.solve(triangle, projections)  # the coefficients, which the comparison does not need
    return chosen
