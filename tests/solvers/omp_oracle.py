"""OMP from its definition on an explicit (m, n) matrix, in float64 and slow, with all options.

It shares no code with the package, and says from which step on rounding may decide.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

SPARSITY_REACHED, RESIDUAL_SMALL, DEPENDENT_ATOM, NO_CORRELATION, FIRST_MISS = range(5)


class Answer(NamedTuple):
    """One signal. ``codes[t]`` and ``residuals[t]`` are those after t + 1 atoms.

    ``sure`` is the number of steps that no rounding in the dtype of the solver changes; None if that is all of them,
    the reason to stop included.
    """

    order: list
    codes: list
    residuals: list
    residual: float
    status: int
    sure: int | None
    condition: float


def omp(
    matrix,
    h,
    k,
    *,
    dtype=np.float64,
    tolerance=None,
    selection="magnitude",
    preselected=(),
    planted=None,
    most=None,
    exact=False,
):
    """Atoms in the order of selection, least squares after each.

    Args:
        dtype: of the solver, whose default tolerances these are.
        most: the largest k of the batch, which sets the pivot below which an atom is dependent.
        exact: the solver makes no rounding errors on this problem, so near-ties are ties and tiny scores are zeros.
    """
    h = np.asarray(h, np.float64)
    epsilon = float(np.finfo(dtype).eps)
    tolerance = 100 * epsilon if tolerance is None else tolerance
    near = 1e-6 if dtype == np.float64 else 1e-3
    pivot = 10 * (most or k) * epsilon
    norms, size = np.linalg.norm(matrix, axis=0), np.linalg.norm(h)
    order, codes, residuals = [], [], []
    residual, sure, status = h, None, None

    def doubt(unclear):
        nonlocal sure
        if unclear and sure is None and not exact:
            sure = len(order)

    while True:
        left = np.linalg.norm(residual)
        condition = np.linalg.cond(matrix[:, order] / norms[order]) if order else 1.0
        doubt(size and abs(left / size - tolerance) < max(near * tolerance, 2 * max(20, condition) * epsilon))
        if left <= tolerance * size:
            status = RESIDUAL_SMALL
            break
        if len(order) == k:
            status = SPARSITY_REACHED
            break
        forced = len(order) < len(preselected)
        if forced:
            atom = int(preselected[len(order)])
        else:
            scores = matrix.T @ residual / norms
            scores = np.abs(scores) if selection == "magnitude" else scores
            scores[order] = -np.inf
            atom = int(np.argmax(scores))
            if exact:  # the lowest of those that are equal but for rounding in this file
                atom = int(np.argmax(scores >= scores[atom] - 1e-12 * size))
            rivals = np.sort(scores)[-2:]
            rounding = 50 * epsilon * condition * size
            doubt(rivals[-1] - (rivals[0] if len(rivals) == 2 else -np.inf) < rounding)
            doubt(abs(rivals[-1]) < rounding)
            if (rivals[-1] <= 1e-12 * size) if selection == "magnitude" or exact else (rivals[-1] <= 0):
                status = NO_CORRELATION
                break
        if planted is not None and atom not in planted:
            status = FIRST_MISS
            break
        unit = matrix / norms
        before = unit[:, order]
        apart = (
            unit[:, atom] - before @ np.linalg.lstsq(before, unit[:, atom], rcond=None)[0] if order else unit[:, atom]
        )
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
        residuals.append(np.linalg.norm(residual))
    return Answer(order, codes, residuals, left, status, sure, condition)


def check(found, answers, matrix, h, *, path=False):
    """Assert that a recovery is what the oracle answered, as far as it is sure. Returns how many were left out."""
    left_out = 0
    single = found.coefficients.dtype == np.float32
    for b, answer in enumerate(answers):
        size = np.linalg.norm(h[b])
        steps = int(found.steps[b])
        sure = len(answer.order) if answer.sure is None else answer.sure
        assert found.indices[b, : min(sure, steps)].tolist() == answer.order[: min(sure, steps)]
        assert steps >= sure
        assert (found.indices[b, steps:] == -1).all()
        assert (found.coefficients[b, steps:] == 0).all()
        error = (2e-5 if single else 1e-13) * answer.condition**2
        if path:
            for t in range(sure):
                own = (2e-5 if single else 1e-13) * answer.condition**2
                np.testing.assert_allclose(
                    found.path.coefficients[b, t, : t + 1], answer.codes[t], atol=own * max(1, size), rtol=own
                )
                assert abs(found.path.residual_norms[b, t] - answer.residuals[t]) <= own * size
            assert (found.path.coefficients[b, steps:] == 0).all()
            assert (found.path.residual_norms[b, steps:] == 0).all()
        if answer.sure is not None:
            left_out += 1
            continue
        assert (steps, found.status[b]) == (len(answer.order), answer.status)
        code = answer.codes[-1] if answer.codes else np.zeros(0)
        np.testing.assert_allclose(found.coefficients[b, :steps], code, atol=error * max(1, size), rtol=error)
        assert abs(found.residual_norms[b] - answer.residual) <= error * size
    return left_out
