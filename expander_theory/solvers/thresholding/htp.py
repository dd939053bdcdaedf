"""Hard thresholding pursuit."""

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits.thresholding import htp as kernel
from expander_theory.base import require, require_real
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or
from expander_theory.solvers.recovery import Recovery, require_unit_columns


def htp(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    step: float = 1.0,
    max_iterations: int | None = None,
    relative_tolerance: float | None = None,
) -> Recovery:
    """HTP, from x = 0: S = the k largest |x + mu g|, g = W^T (h - W x); x = least squares on S.

    The step mu is fixed, and 1 is the one of the paper's theorems. Its normalised variant (NHTP) takes
    mu = ||g_S||^2 / ||W_S g_S||^2 on the support S of x, which least squares makes 0/0: g vanishes there but for
    rounding errors, and at x = 0, where it does not, every mu gives the same S. So that variant is not offered; with
    unit columns it has nothing to normalise either.
    Coefficients below 100 machine epsilons of the largest are rounding errors and never kept.
    A signal stops when ||r|| <= relative_tolerance ||h|| (RESIDUAL_SMALL), when S repeats, at once or after several
    steps (SUPPORT_STABLE: it is then a fixed point, or the one of least residual among those of the cycle), when h is
    orthogonal to all atoms (NO_CORRELATION), or at ITERATION_LIMIT. Ties go to the lowest index. An atom of S in the
    span of those of lower index gets coefficient 0, so dependent columns are allowed. Atoms are in the order of
    decreasing |x_j|; ``iterations`` counts the least squares before S repeats. A step costs O(d n) on masks, O(m n) if
    dense or of blocks, and a least squares on k atoms. Source: Foucart 2011.

    Args:
        dictionary: unit-l2 columns.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        step: mu, positive. The smaller it is, the more supports are fixed points.
        max_iterations: default 6 (k + 1), as for :func:`cosamp`; the paper proves that a number of steps proportional
            to k is enough where the restricted isometry constant of order 3k is below 1/sqrt(3).
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: bad signals, k or options, or columns that are not of unit norm.
    """
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    require_unit_columns(dictionary)
    mu = require_real("step", step)
    require(0 < mu < float("inf"), "step", step, "must be positive and finite")
    limit = positive_or("max_iterations", max_iterations, 6 * (int(k) + 1))
    pivot_tolerance = 30 * int(k) * problem.epsilon
    numbers = (int(k), problem.h.dtype.type(mu), limit, problem.tolerance, pivot_tolerance)
    kernel.htp(problem.columns, problem.h, *numbers, problem.found)
    return problem.recovery()
