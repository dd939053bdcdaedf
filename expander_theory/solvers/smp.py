"""Sparse matching pursuit, the parallel decoder of expanders."""

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits import smp as kernel
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or, require_masked
from expander_theory.solvers.recovery import Recovery


def smp(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    max_iterations: int = 50,
    relative_tolerance: float | None = None,
) -> Recovery:
    """x <- H_k(x + H_2k(u)) from x = 0, u_j being the median of r_i/w_ij over the rows i in N(j), r = h - W x.

    It is the plain median if the values of a column have equal moduli (0/1 masks in the paper), and in general the
    weighted one with weights |w_ij|: u_j minimises sum_i |r_i - u_j w_ij|, and of several minimisers it is the one of
    least modulus. H_s keeps the s largest moduli (ties to the lowest index). All columns look at the same residual;
    :func:`ssmp` moves one at a time instead, which costs more and succeeds more often.
    A signal stops when ||r||_1 <= relative_tolerance ||h||_1 (RESIDUAL_SMALL), when an iteration has moved no
    coefficient by more than relative_tolerance max|x| (SUPPORT_STABLE), after ``max_iterations`` (ITERATION_LIMIT), or
    when ||r||_1 exceeds 1e6 ||h||_1 (FAILED): far above the sparsity that the expansion of the mask supports, wrong
    estimates feed on each other, and the code is zero. Atoms are in the order of decreasing |x_j|. O(n d^2) an
    iteration. If the rows of each column that the rest of the support hits carry less than half of its l1 norm, all of
    ``u`` is exact at x = 0 on the support of a noiseless signal, and zero on columns of which the support hits less
    than half in that sense: then one iteration recovers x. Source: Berinde, Indyk, Ruzic 2008.

    Args:
        dictionary: masked; columns of any norm.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        max_iterations: at least 1. The paper's bound on the error falls by a constant factor per iteration.
        relative_tolerance: default 100 machine epsilons, where the residual is rounding error.

    Raises:
        InvalidArgument: a dense or block dictionary, bad signals, k or options.
    """
    require_masked(dictionary, "smp")
    problem = checked_problem(dictionary, signals, k, relative_tolerance)
    limit = positive_or("max_iterations", max_iterations, 50)
    kernel.smp(problem.columns, problem.h, int(k), limit, problem.tolerance, problem.found)
    return problem.recovery()
