"""Expander l0 decoding: a column is updated where enough of its rows agree on a value."""

from typing import Literal

from numpy.typing import ArrayLike

from expander_theory._kernels.pursuits import l0_decoding as kernel
from expander_theory.base import require, require_choice
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers._problem import checked_problem, positive_or, require_masked
from expander_theory.solvers.recovery import Recovery


def l0_decoding(
    dictionary: AnyDictionary,
    signals: ArrayLike,
    k: int,
    *,
    agreement: int = 2,
    parallel: bool = True,
    test: Literal["decrease", "agreement"] = "decrease",
    max_iterations: int | None = None,
    equality_tolerance: float | None = None,
) -> Recovery:
    """Rounds in which x_j grows by the value that most of the nonzero ratios r_i/w_ij, i in N(j), share.

    With v rows that share it (of equally frequent values that of the first row) and z rows of N(j) where r is zero
    already, column j is updated if v - z >= ``agreement`` ("decrease": so many nonzeros fewer in r), or if
    v >= ``agreement`` ("agreement"). Both tests say the same of a column of the code as long as no row of the residual
    cancels, so THEORY.md holds for both: for almost all values and codes, agreement of 2 is proof and x is recovered
    iff its support is 2-peelable (L0-1; random supports, L0-3); for one positive value and codes whose subset sums
    differ, agreement of o + 1 (o the largest overlap) suffices if (1 - 2 eps_k) d > o (L0-2). Where all moduli are
    equal, "agreement" of 2 misleads on columns that share two rows; "decrease" need not be raised.

    These are statements of exact arithmetic, which ``agreement_decode`` of the theorems has;
    there is no stability to noise. In floating point r_i counts as zero up to t s_i, and r_i/w_ij and r_l/w_lj as equal
    if they differ by at most t (s_i/|w_ij| + s_l/|w_lj|): t is the tolerance, s_i the sum of the moduli that went into
    r_i. Some n d^2 t pairs of a dense residual agree by chance: many in float32, hardly any in float64.

    A signal stops when the residual is zero in every row, or after a round without an update. RESIDUAL_SMALL:
    ||r|| <= t ||h||, the code is found; NO_UPDATE: no column passes the test; ITERATION_LIMIT; SPARSITY_REACHED: more
    than k coefficients were found, of which the k largest moduli are returned. Atoms are in the order of decreasing
    |x_j|; ``iterations`` counts the rounds that changed something. O(n d^2) a round.
    Source: Mendoza-Smith, Tanner 2017; THEORY.md section D.

    Args:
        dictionary: masked; columns of any norm. Rows where a value is zero have no vote.
        signals: (batch, m) or (m,), floating; float32 signals are solved in float32, all others in float64.
        k: sparsity, 1..min(m, n).
        agreement: 1..d.
        parallel: all columns of a round look at the same residual; otherwise columns take turns 0..n-1.
        test: "decrease" or "agreement".
        max_iterations: rounds; default k, which suffices as long as no update is wrong.
        equality_tolerance: t, default 100 machine epsilons.

    Raises:
        InvalidArgument: a dense or block dictionary, bad signals, k or options.
    """
    d = require_masked(dictionary, "l0_decoding").d
    problem = checked_problem(dictionary, signals, k, equality_tolerance, "equality_tolerance")
    a = positive_or("agreement", agreement, 2)
    require(a <= d, "agreement", a, f"must be at most d = {d}")
    require_choice("test", test, ("decrease", "agreement"))
    limit = positive_or("max_iterations", max_iterations, int(k))
    rule = kernel.Rule(a, bool(parallel), test == "decrease", problem.tolerance)
    kernel.l0_decoding(problem.columns, problem.h, int(k), rule, limit, problem.found)
    return problem.recovery()
