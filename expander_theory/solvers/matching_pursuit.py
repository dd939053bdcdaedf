"""Matching pursuit."""

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits import matching_pursuit as kernel
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or
from expander_theory.solvers.recovery import Recovery, require_unit_columns


def matching_pursuit(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    max_iterations: int | None = None,
    relative_tolerance: float | None = None,
) -> Recovery:
    """Repeatedly x_j += w_j^T r and r -= (w_j^T r) w_j, for the atom of largest |w_j^T r|; atoms come back.

    A signal stops when the next atom would be number k + 1 (SPARSITY_REACHED: by then the chosen ones need not have
    their best coefficients), when ||r|| <= relative_tolerance ||h|| (RESIDUAL_SMALL), when all atoms are orthogonal to
    r (NO_CORRELATION), or at ITERATION_LIMIT. Ties go to the lowest index; ``iterations`` counts the steps. O(dn) a
    step, O(mn) if dense. Source: Mallat, Zhang 1993.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: different atoms at most, 1..min(m, n).
        max_iterations: default 100 k.
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: bad signals, k or options, or columns that are not of unit norm.
    """
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    require_unit_columns(dictionary)
    limit = positive_or("max_iterations", max_iterations, 100 * int(k))
    kernel.matching_pursuit(problem.columns, problem.h, int(k), limit, problem.tolerance, problem.found)
    return problem.recovery()
