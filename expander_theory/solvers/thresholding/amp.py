"""Approximate message passing with soft thresholds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory.base import require, require_real
from expander_theory.dictionaries import AnyDictionary, Floats
from expander_theory.solvers._problem import checked_problem, positive_or
from expander_theory.solvers._refit import keep_largest
from expander_theory.solvers.recovery import Recovery, RecoveryStatus, require_unit_columns

DIVERGED = 1e6
"""A corrected residual of this many times the norm of the signal will not come back."""

_ENTRIES = 1 << 22
"""Entries of the codes that are iterated together."""


def amp(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    nonnegative: bool = False,
    damping: float = 1.0,
    refit: bool = True,
    max_iterations: int = 500,
    relative_tolerance: float | None = None,
) -> Recovery:
    """x <- eta(x + W^T z; theta), z <- h - W x + z ||x||_0 / m from x = 0, z = h; then the k largest |x_j|, refitted.

    eta is the soft threshold, and with ``nonnegative`` max(u - theta, 0). The threshold is theta = tau ||z|| / sqrt(m),
    where tau is the minimax threshold of :func:`minimax_threshold` at m/n. The last term of z (Onsager's) makes
    x + W^T z look like the true code plus Gaussian noise of variance ||z||^2/m: this is a theorem for dense matrices of
    independent Gaussian entries in the limit of large m and n, where the error follows the scalar state evolution and
    codes are recovered up to the sparsity at which l1 minimisation fails (Bayati, Montanari 2011). It does NOT hold on
    sparse masks: what a row tells a column comes back along the few edges of the mask, the Onsager term is wrong, and
    the iteration is a heuristic. With m = 500, n = 1000 and 125 Gaussian coefficients, state evolution predicts the
    error on a Gaussian dictionary within 3 % in each of 12 steps, and all codes are recovered; on a mask with d = 4 the
    undamped iteration diverges on every signal, with d = 8 on most. ``damping`` of 0.5 stops the divergence, not the
    disagreement; it recovers 19 of 20 of these codes on the mask with d = 4 and signs as values, and none with Gaussian
    values. From d = 64 on there is little difference. :func:`lasso` has the same goal and converges on any dictionary.

    A signal stops when ||z|| <= relative_tolerance ||h||, when x moves by at most relative_tolerance ||x||, when it
    diverges, or after ``max_iterations``. Its status is that of the code returned: RESIDUAL_SMALL where
    ||h - W x|| <= relative_tolerance ||h||; otherwise SPARSITY_REACHED where only the entries beyond the k kept explain
    the rest, SUPPORT_STABLE at a fixed point, NO_CORRELATION where no atom (for nonnegative codes: none with a positive
    sign) correlates with h, ITERATION_LIMIT, or FAILED where ||z|| has grown to 1e6 ||h||, with the code zero. Ties go
    to the lowest index; atoms are in the order of decreasing |x_j|. An iteration costs two products with W: O(d n) on
    masks, O(m n) dense. A signal's result does not depend on the rest of its batch, except for the rounding errors of
    matrix products with dense columns. Source: Donoho, Maleki, Montanari 2009.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: entries kept, 1..min(m, n). The iteration itself does not know it.
        nonnegative: look for codes x >= 0.
        damping: in (0, 1]; x and z move by this share of the step, 1 being the undamped iteration.
        refit: least squares on the k atoms kept (x >= 0 if ``nonnegative``) instead of the entries of x.
        max_iterations: at least 1.
        relative_tolerance: default 1e-6, for float32 signals 1e-4; with ``refit`` the coefficients are more exact.

    Raises:
        InvalidArgument: bad signals, k or options, or columns that are not of unit norm.
    """
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    require_unit_columns(dictionary)
    limit = positive_or("max_iterations", max_iterations, 500)
    share = require_real("damping", damping)
    require(0 < share <= 1, "damping", damping, "must be in (0, 1]")
    h, found = problem.h, problem.found
    tolerance = (1e-4 if h.dtype == np.float32 else 1e-6) if relative_tolerance is None else problem.tolerance
    tau = minimax_threshold(dictionary.m / dictionary.n, nonnegative=bool(nonnegative))
    run = _Iteration(dictionary.astype(h.dtype), tau, bool(nonnegative), share, tolerance, limit)
    together = max(1, _ENTRIES // dictionary.n)
    for first in range(0, len(h), together):
        part = type(found)(*(array[first : first + together] for array in found))
        signal = h[first : first + together]
        x = run.codes(signal, part.status, part.iterations)
        keep_largest(problem.columns, signal, x, part, refit=bool(refit), nonnegative=bool(nonnegative))
        small = part.residuals <= tolerance * _norms(signal)
        part.status[~small & (part.status == RecoveryStatus.RESIDUAL_SMALL)] = RecoveryStatus.SPARSITY_REACHED
        part.status[small] = RecoveryStatus.RESIDUAL_SMALL
    return problem.recovery()


class _Iteration:
    """The iteration on a batch, of which the signals that have stopped are taken out."""

    def __init__(
        self, dictionary: Any, tau: float, nonnegative: bool, damping: float, tolerance: float, limit: int
    ) -> None:
        self.dictionary, self.nonnegative, self.tolerance, self.limit = dictionary, nonnegative, tolerance, limit
        self.share = dictionary.dtype.type(damping)
        self.tau = tau / np.sqrt(dictionary.m)

    def codes(self, h: Floats, status: NDArray[np.int8], iterations: NDArray[np.int32]) -> Floats:
        """x of every signal, (batch, n); fills status and iterations."""
        out = np.zeros((len(h), self.dictionary.n), h.dtype)
        goal = self.tolerance * _norms(h)
        end = DIVERGED * _norms(h)
        running = np.arange(len(h))
        x, z = out.copy(), h.copy()
        still = np.zeros(len(h), bool)
        for step in range(self.limit + 1):
            left = _norms(z)
            reason = np.full(len(running), -1, np.int8)
            if step == self.limit:
                reason[:] = RecoveryStatus.ITERATION_LIMIT
            # Not x but h is orthogonal to all atoms where the first step has gone nowhere.
            reason[still] = RecoveryStatus.SUPPORT_STABLE if step > 1 else RecoveryStatus.NO_CORRELATION
            reason[left > end[running]] = RecoveryStatus.FAILED
            reason[left <= goal[running]] = RecoveryStatus.RESIDUAL_SMALL
            done = reason >= 0
            if done.any():
                stopped = running[done]
                status[stopped], iterations[stopped] = reason[done], step
                out[stopped] = np.where((reason[done] == RecoveryStatus.FAILED)[:, None], 0, x[done])
                running, x, z, left = running[~done], x[~done], z[~done], left[~done]
            if running.size == 0:
                break
            x, z, still = self._step(h[running], x, z, left)
        return out

    def _step(self, h: Floats, x: Floats, z: Floats, left: NDArray[np.float64]) -> tuple[Floats, Floats, Any]:
        """One iteration, and which codes it does not move."""
        u = x + self.dictionary.rmatvec(z)
        theta = (self.tau * left).astype(h.dtype)[:, None]
        size = np.maximum((u if self.nonnegative else np.abs(u)) - theta, 0)
        new = size if self.nonnegative else np.copysign(size, u)
        onsager = (np.count_nonzero(size, axis=1) / self.dictionary.m).astype(h.dtype)[:, None]
        if self.share < 1:
            new = x + self.share * (new - x)
        corrected = h - self.dictionary.matvec(new) + onsager * z
        if self.share < 1:
            corrected = z + self.share * (corrected - z)
        return new, corrected, _norms(new - x) <= self.tolerance * _norms(new)


def _norms(vectors: Floats) -> NDArray[np.float64]:
    """l2 norms of the rows, added up in float64."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))


@lru_cache(maxsize=256)
def minimax_threshold(ratio: float, *, nonnegative: bool = False) -> float:
    """The threshold tau, in noise levels, at which AMP with m = ratio n recovers the densest codes, O(1).

    It is the z >= 0 at which the largest sparsity k/m is attained that state evolution allows, rho(ratio) =
    max_z (1 - (c/ratio) g(z)) / (1 + z^2 - c g(z)), g(z) = (1 + z^2) Phi(-z) - z phi(z), c = 2 for signed and 1 for
    nonnegative codes, phi and Phi being the density and distribution function of a standard normal variable. Ratios
    above 0.95 count as 0.95, since tau would fall to 0 where m >= n, and nothing would be set to zero.
    Source: Donoho, Maleki, Montanari 2009, whose lambda is tau/sqrt(ratio) as its noise level is another.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import ndtr

    delta, sides = min(ratio, 0.95), 1 if nonnegative else 2

    def sparsity(z: float) -> float:
        tail = sides * ((1 + z * z) * ndtr(-z) - z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))
        return float((1 - tail / delta) / (1 + z * z - tail))

    grid = np.linspace(0.01, 10, 1000)
    best = int(np.argmax([sparsity(z) for z in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, 999)])
    found: Any = minimize_scalar(lambda z: -sparsity(z), bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return float(found.x)
