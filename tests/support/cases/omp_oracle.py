"""OMP from its definition on an explicit (m, n) matrix, in float64 and slow, with all options.

It shares no code with the package, and says from which step on rounding errors of a solver may decide.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

SPARSITY_REACHED, RESIDUAL_SMALL, DEPENDENT_ATOM, NO_CORRELATION, FIRST_MISS = range(5)


class Answer(NamedTuple):
    """One signal: atoms in order; code and residual norm after each; the status; the condition of the chosen columns.

    The first ``sure`` atoms are those of any solver of that precision; None if they all are, and the status too.
    """

    order: list
    codes: list
    residuals: list
    left: float
    status: int
    condition: float
    sure: int | None


def omp_batch(matrix, h, k, *, preselected=None, planted=None, **options):
    """One answer a signal; k is one for all or one each, atoms are arrays filled up with -1."""
    ks = np.broadcast_to(k, (len(h),)).tolist()
    given, supports = ([None] * len(h) if rows is None else [r[r >= 0].tolist() for r in rows] for rows in
                       (preselected, planted))  # fmt: skip
    return [
        omp(matrix, signal, own, most=max(ks), preselected=first or (), planted=support, **options)
        for signal, own, first, support in zip(h, ks, given, supports, strict=True)
    ]


def omp(
    matrix,
    h,
    k,
    *,
    most,
    dtype=np.float64,
    relative_tolerance=None,
    selection="magnitude",
    preselected=(),
    planted=None,
    exact=False,
):
    """Greedy steps, least squares after each.

    Args:
        most: the largest k of the batch, which sets the distance below which an atom is dependent.
        dtype: of the solver: it sets the default tolerance, and how near scores must be to be left out.
        exact: the solver makes no rounding errors on this problem: near-ties are ties, tiny scores zeros.
    """
    h, epsilon = np.asarray(h, np.float64), float(np.finfo(dtype).eps)
    tolerance = 100 * epsilon if relative_tolerance is None else relative_tolerance
    pivot, near = 10 * most * epsilon, 1e-6 if dtype == np.float64 else 1e-3
    size, unit = np.linalg.norm(h), matrix / np.linalg.norm(matrix, axis=0)
    order, codes, residuals, residual, sure = [], [], [], h, None

    def doubt(unclear):
        nonlocal sure
        if unclear and sure is None and not exact:
            sure = len(order)

    while True:
        left, condition = np.linalg.norm(residual), np.linalg.cond(unit[:, order]) if order else 1.0
        rounding = 50 * epsilon * condition
        doubt(size and abs(left / size - tolerance) < max(near * tolerance, epsilon * max(20, 2 * condition)))
        if left <= tolerance * size:
            status = RESIDUAL_SMALL
            break
        if len(order) == k:
            status = SPARSITY_REACHED
            break
        if len(order) < len(preselected):
            atom = preselected[len(order)]
        else:
            atom, score, gap = _best(unit, residual, order, selection, 1e-12 * size if exact else 0)
            doubt(min(gap, abs(score)) < rounding * size)
            if score <= (1e-12 * size if exact or selection == "magnitude" else 0):
                status = NO_CORRELATION
                break
        if planted is not None and atom not in planted:
            status = FIRST_MISS
            break
        apart = unit[:, atom] - _fit(unit[:, order], unit[:, atom])
        rho = float(apart @ apart)
        doubt(pivot / 30 < rho < 30 * pivot)
        if rho <= pivot:
            status = DEPENDENT_ATOM
            break
        order.append(atom)
        columns = matrix[:, order]
        code = nnls(columns, h)[0] if selection == "nonnegative" else np.linalg.lstsq(columns, h, rcond=None)[0]
        residual = h - columns @ code
        codes.append(code)
        residuals.append(float(np.linalg.norm(residual)))
    return Answer(order, codes, residuals, float(left), status, float(condition), sure)


def _best(unit, residual, order, selection, equal):
    """The lowest of the best atoms, its score, and how far the next is behind."""
    scores = unit.T @ residual
    scores = np.abs(scores) if selection == "magnitude" else scores
    scores[order] = -np.inf
    first = np.max(scores)
    atom = int(np.argmax(scores >= first - equal))
    return atom, first, first - np.max(np.delete(scores, atom), initial=-np.inf)


def _fit(columns, target):
    return columns @ np.linalg.lstsq(columns, target, rcond=None)[0] if columns.size else 0 * target


def check(found, answers, h, rows=None):
    """Assert that (these rows of) a recovery of h are what the oracle answered, as far as that is sure.

    Returns how many signals are left out: those of which only the first atoms are sure.
    """
    single = found.coefficients.dtype == np.float32
    for b, answer in zip(range(len(h)) if rows is None else rows, answers, strict=True):
        steps, size = int(found.steps[b]), np.linalg.norm(h[b])
        sure = len(answer.order) if answer.sure is None else answer.sure
        assert found.indices[b, :sure].tolist() == answer.order[:sure]
        assert (found.indices[b, steps:] == -1).all()
        assert (found.coefficients[b, steps:] == 0).all()
        error = min(1e-3, 2e-5 * answer.condition**2) if single else min(1e-8, 1e-13 * answer.condition**2)
        if found.path is not None:
            for t in range(sure):
                codes = found.path.coefficients[b, t]
                np.testing.assert_allclose(codes[: t + 1], answer.codes[t], atol=error * max(1, size), rtol=error)
                assert (codes[t + 1 :] == 0).all()
            errors = np.abs(found.path.residual_norms[b, :sure] - answer.residuals[:sure])
            assert (errors <= error * size).all()
            assert not found.path.coefficients[b, steps:].any()
            assert not found.path.residual_norms[b, steps:].any()
        if answer.sure is None:
            assert (steps, int(found.status[b])) == (len(answer.order), answer.status)
            code = answer.codes[-1] if answer.codes else np.zeros(0)
            np.testing.assert_allclose(found.coefficients[b, :steps], code, atol=error * max(1, size), rtol=error)
            assert abs(found.residual_norms[b] - answer.left) <= error * size
    return sum(answer.sure is not None for answer in answers)
