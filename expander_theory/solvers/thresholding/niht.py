"""Normalised iterative hard thresholding."""

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits.thresholding import niht as kernel
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or
from expander_theory.solvers.recovery import Recovery, require_unit_columns


def niht(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    max_iterations: int = 500,
    relative_tolerance: float | None = None,
) -> Recovery:
    """x <- H_k(x + mu g) from x = 0, with g = W^T (h - W x), H_k keeping the k largest moduli, and a normalised step.

    mu = ||g_S||^2 / ||W_S g_S||^2 on the support S of x (at first, of the k largest |W^T h|). Where the support
    changes from x to x', mu is halved until mu <= 0.99 ||x' - x||^2 / ||W (x' - x)||^2, so that the residual falls
    (c = 0.01 and kappa = 2/(1 - c) of the paper). Where the quotient is not defined (g_S = 0), the search starts at 1.
    A signal stops when ||r|| <= relative_tolerance ||h|| (RESIDUAL_SMALL), when the support stays and x moves by at
    most relative_tolerance ||x|| (SUPPORT_STABLE), when h is orthogonal to all atoms (NO_CORRELATION), or at
    ITERATION_LIMIT. Convergence is linear. Ties go to the lowest index; atoms are in the order of decreasing |x_j|.
    Source: Blumensath, Davies 2010.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        max_iterations: at least 1.
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: bad signals, k or options, or columns that are not of unit norm.
    """
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    require_unit_columns(dictionary)
    limit = positive_or("max_iterations", max_iterations, 500)
    kernel.niht(problem.columns, problem.h, int(k), limit, problem.tolerance, problem.found)
    return problem.recovery()
