"""Sequential sparse matching pursuit."""

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits import ssmp as kernel
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or, require_masked
from expander_theory.solvers.recovery import Recovery


def ssmp(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    updates_per_phase: int | None = None,
    max_iterations: int = 16,
    relative_tolerance: float | None = None,
) -> Recovery:
    """Phases of coordinate steps x_j += z, each the pair (j, z) that lowers ||h - W x||_1 most, then x <- H_k(x).

    For a column the best z is a median of the ratios r_i/w_ij, i in N(j), if its values have equal moduli (0/1 masks
    in the paper), and in general their weighted median with weights |w_ij|; of several minimisers the one of least
    modulus is taken, of several columns (up to 100 machine epsilons of ||h||_1) the lowest. H_k keeps the k largest
    moduli (ties to the lowest index). A phase ends after ``updates_per_phase`` steps, or where no step lowers ||r||_1
    by more than relative_tolerance ||h||_1.
    A signal stops after a phase when ||r||_1 <= relative_tolerance ||h||_1 (RESIDUAL_SMALL), when the phase has moved
    no coefficient by more than relative_tolerance max|x| (SUPPORT_STABLE), or after ``max_iterations`` phases
    (ITERATION_LIMIT). Atoms are in the order of decreasing |x_j|; ``iterations`` counts the phases.
    If the rows of each column that the rest of the support hits carry less than half of its l1 norm (with equal moduli:
    fewer than d/2 rows, THEORY.md MED-1), every step of a noiseless signal adds a true coefficient: x is recovered.
    Source: Berinde, Indyk 2009.

    Args:
        dictionary: masked; columns of any norm.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        updates_per_phase: default 4k.
        max_iterations: phases, at least 1.
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: a dense or block dictionary, bad signals, k or options.
    """
    mask = require_masked(dictionary, "ssmp").mask
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    updates = positive_or("updates_per_phase", updates_per_phase, 4 * int(k))
    limit = positive_or("max_iterations", max_iterations, 16)
    limits = (int(k), updates, limit, problem.tolerance)
    kernel.ssmp(problem.columns, mask.row_lists, problem.h, *limits, problem.found)
    return problem.recovery()
