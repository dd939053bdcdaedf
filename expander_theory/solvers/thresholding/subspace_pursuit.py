"""Subspace pursuit."""

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits.thresholding import subspace_pursuit as kernel
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or
from expander_theory.solvers.recovery import Recovery, require_unit_columns


def subspace_pursuit(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    max_iterations: int | None = None,
    relative_tolerance: float | None = None,
) -> Recovery:
    """From S = {}: T = S and the k largest |W^T r|; b = least squares on T; S = the k largest |b|, fitted anew.

    As in the paper a step is only taken if it lowers ||r||: the first one that does not ends the search
    (SUPPORT_STABLE), with the support that it began with. So no support comes back, unlike in :func:`cosamp`, which
    takes 2k columns at a time and does not fit anew what it has pruned. Coefficients below 100 machine epsilons of the
    largest are rounding errors and never kept.
    A signal also stops when ||r|| <= relative_tolerance ||h|| (RESIDUAL_SMALL), when h is orthogonal to all atoms
    (NO_CORRELATION), or at ITERATION_LIMIT. Ties go to the lowest index. An atom of T in the span of those of lower
    index gets coefficient 0, so dependent columns and 2k > m are allowed. Atoms are in the order of decreasing |x_j|;
    ``iterations`` counts the steps that were taken, the first fit from k columns among them. A step costs O(d n) on
    masks, O(m n) if dense or of blocks, and least squares on 2k and k atoms. Source: Dai, Milenkovic 2009.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        max_iterations: default 6 (k + 1), as for :func:`cosamp`.
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: bad signals, k or options, or columns that are not of unit norm.
    """
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    require_unit_columns(dictionary)
    limit = positive_or("max_iterations", max_iterations, 6 * (int(k) + 1))
    pivot_tolerance = 30 * int(k) * problem.epsilon
    run = kernel.subspace_pursuit
    run(problem.columns, problem.h, int(k), limit, problem.tolerance, pivot_tolerance, problem.found)
    return problem.recovery()
