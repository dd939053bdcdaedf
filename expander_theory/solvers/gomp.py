"""Generalised orthogonal matching pursuit."""

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits import gomp as kernel
from expander_theory.base import require
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or
from expander_theory.solvers.recovery import Recovery, require_unit_columns


def gomp(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    atoms_per_step: int | None = None,
    relative_tolerance: float | None = None,
) -> Recovery:
    """OMP that adds s atoms a step: those of largest |w_j^T r|, then least squares on all chosen so far.

    At most k steps, so up to min(s k, m) atoms are selected; it ends earlier when ||r|| <= relative_tolerance ||h||.
    What is returned has at most k atoms: if more were selected, those of the k largest |coefficients| (ties to the one
    selected first), with least squares on these k alone; coefficients below 100 machine epsilons of the largest are
    rounding errors and left out. Status, coefficients and residual are of this final code; its order is that of
    selection; ``iterations`` counts the steps. Ties in selection go to the lowest index, atoms orthogonal to r are
    never selected, and atoms in the span of those selected before are left out. s = 1 is OMP.
    Source: Wang, Kwon, Shim 2012.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        atoms_per_step: s, 1..k; default min(3, k).
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: bad signals, k or options, or columns that are not of unit norm.
    """
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    require_unit_columns(dictionary)
    s = positive_or("atoms_per_step", atoms_per_step, min(3, int(k)))
    require(s <= k, "atoms_per_step", s, f"must be at most k = {k}")
    pivot_tolerance = 10 * int(k) * s * problem.epsilon
    kernel.gomp(problem.columns, problem.h, int(k), s, problem.tolerance, pivot_tolerance, problem.found)
    return problem.recovery()
