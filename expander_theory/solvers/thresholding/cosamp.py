"""Compressive sampling matching pursuit."""

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits.thresholding import cosamp as kernel
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or
from expander_theory.solvers.recovery import Recovery, require_unit_columns


def cosamp(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    max_iterations: int | None = None,
    relative_tolerance: float | None = None,
) -> Recovery:
    """CoSaMP, from x = 0: T = supp(x) and the 2k largest |W^T r|; b = least squares on T; x = the k largest |b|.

    As in the paper x is the pruned b, not least squares on its own support, and the last iterate is returned. Entries
    of b below 100 machine epsilons of the largest are rounding errors and never kept. A signal stops when
    ||r|| <= relative_tolerance ||h|| (RESIDUAL_SMALL), when T repeats without a change of supp(x) since, so that there
    will be none (SUPPORT_STABLE), when h is orthogonal to all atoms (NO_CORRELATION), or at ITERATION_LIMIT, to which
    a cycle of several supports skips ahead. Ties go to the lowest index. An atom of T in the span of those of lower
    index gets coefficient 0, so dependent columns and 3k > m are allowed. Atoms are in the order of decreasing |x_j|.
    Source: Needell, Tropp 2009.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        max_iterations: default 6 (k + 1), the number that the paper's guarantee needs.
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: bad signals, k or options, or columns that are not of unit norm.
    """
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    require_unit_columns(dictionary)
    limit = positive_or("max_iterations", max_iterations, 6 * (int(k) + 1))
    pivot_tolerance = 30 * int(k) * problem.epsilon
    kernel.cosamp(problem.columns, problem.h, int(k), limit, problem.tolerance, pivot_tolerance, problem.found)
    return problem.recovery()
