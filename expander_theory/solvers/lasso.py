"""The lasso: least squares with an l1 penalty."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits import lasso as kernel
from expander_theory._kernels.pursuits.atoms import Found
from expander_theory.base import require, require_real
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or
from expander_theory.solvers._refit import keep_largest
from expander_theory.solvers.recovery import Recovery

_ENTRIES = 1 << 22
"""Entries of the codes that are held dense at a time."""


def lasso(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int | None = None,
    *,
    alpha: float = 0.01,
    nonnegative: bool = False,
    refit: bool = True,
    max_iterations: int = 100_000,
    tolerance: float | None = None,
) -> Recovery:
    """min_x 1/2 ||h - W x||^2 + alpha ||W^T h||_inf ||x||_1, then the k largest |x_j| of the minimiser, refitted.

    From alpha = 1 on the minimiser is zero, so alpha says how far below that point of the path to go, whatever the
    scale of the signal; with ``nonnegative`` (x >= 0) the norm is replaced by max_j w_j^T h. The minimiser (``k=None``,
    ``refit=False``) also solves basis pursuit denoising, min ||x||_1 subject to ||h - W x|| <= e, for e its own
    residual norm, which grows with alpha; as alpha falls to 0, it tends to a code of :func:`basis_pursuit`. Who knows e
    looks for the alpha of that residual; noise of standard deviation s a row, with unit columns, calls for a penalty
    alpha ||W^T h||_inf of about s sqrt(2 ln n).

    Cyclic coordinate descent, lowest index first, on a working set that grows by the columns that violate the
    optimality conditions most, with Anderson extrapolation; a coordinate costs O(d) on masks, O(m) if dense or of
    blocks, and a round one product with W^T. It stops when the duality gap is at most ``tolerance`` ||h||^2/2, the
    objective of x = 0: by so much at most the objective exceeds the minimum (OPTIMAL, also where the k entries kept
    leave a residual). Other statuses: ITERATION_LIMIT; NO_CORRELATION where h is orthogonal to all atoms (nonnegative:
    where no w_j^T h is positive) and RESIDUAL_SMALL for a signal of zeros, both with x = 0. ``iterations`` counts
    passes over a working set. Atoms are in the order of decreasing |x_j| (after the refit), ties to the lowest index.
    Sources: Tibshirani 1996; Friedman, Hastie, Tibshirani 2010 (coordinate descent); Bertrand, Massias 2021 (Anderson).

    Args:
        dictionary: columns of any norm; a penalty on x favours long columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: entries kept, 1..min(m, n); None keeps all, and the result is as wide as the largest of these supports.
        alpha: in (0, 1).
        nonnegative: look for codes x >= 0.
        refit: least squares on the atoms kept (x >= 0 if ``nonnegative``), which undoes the bias of the penalty; an
            atom in the span of those of lower index is left out. False keeps the entries of the minimiser.
        max_iterations: at least 1.
        tolerance: in [0, 1); default 1e-6, for float32 signals 1e-5, near the least that rounding allows.

    Raises:
        InvalidArgument: bad signals, k or options.
    """
    problem = checked_problem(dictionary, signals, 1 if k is None else k, tolerance, "tolerance")
    share = require_real("alpha", alpha)
    require(0 < share < 1, "alpha", alpha, "must be in (0, 1)")
    limit = positive_or("max_iterations", max_iterations, 1)
    h, columns = problem.h, problem.columns
    gap = (1e-5 if h.dtype == np.float32 else 1e-6) if tolerance is None else problem.tolerance
    penalty = kernel.Penalty(share, bool(nonnegative))
    together = max(1, _ENTRIES // dictionary.n)
    parts = []
    for first in range(0, len(h), together):
        part = h[first : first + together]
        x = np.zeros((len(part), dictionary.n), h.dtype)
        status, iterations = np.zeros(len(part), np.int8), np.zeros(len(part), np.int32)
        kernel.lasso(columns, part, penalty, limit, gap, x, status, iterations)
        width = int(np.count_nonzero(x, axis=1).max()) if k is None else int(k)
        found = _room(len(part), width, h.dtype)
        keep_largest(columns, part, x, found, refit=bool(refit), nonnegative=bool(nonnegative))
        found.status[:], found.iterations[:] = status, iterations
        parts.append(found)
    return problem.recovery_of(parts, None if k is None else int(k))


def _room(batch: int, k: int, dtype: np.dtype) -> Found:
    return Found(
        np.full((batch, k), -1, np.int32), np.zeros((batch, k), dtype), np.zeros(batch, np.int32),
        np.zeros(batch, np.int8), np.zeros(batch, dtype), np.zeros(batch, np.int32),
    )  # fmt: skip
