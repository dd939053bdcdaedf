"""Logistic fits of a success rate along one coordinate, with Firth's penalty.

All loops work on cells (u, x, total): coordinate, successes, trials > 0, float64. The penalty
log det(X'WX) / 2, W = total p (1 - p), is computed relative to the cell of largest weight, so that
steep slopes, where every weight is tiny, do not underflow. Each evaluation or step is one pass over the cells; a fit
takes some tens of steps and 12 evaluations for each cell and each gap between two.
"""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def _log_sigmoid(eta):
    return -np.log1p(np.exp(-eta)) if eta > 0 else eta - np.log1p(np.exp(eta))


@njit(cache=True)
def _moments(weight, u):
    """Turn log weights into weights relative to the largest; its log, its u, and the moments 0, 1, 2 about that u."""
    largest = 0
    for i in range(u.size):
        if weight[i] > weight[largest]:
            largest = i
    top = weight[largest]
    s0 = s1 = s2 = 0.0
    for i in range(u.size):
        weight[i] = np.exp(weight[i] - top)
        apart = u[i] - u[largest]
        s0 += weight[i]
        s1 += weight[i] * apart
        s2 += weight[i] * apart * apart
    return top, u[largest], s0, s1, s2


@njit(cache=True)
def loss(intercept, slope, u, x, total):
    """-(log likelihood + log det(information) / 2); infinite where the information underflows."""
    # log p and log(1 - p) = log p - eta give the likelihood and the log weights without cancellation.
    weight = np.empty(u.size)
    likelihood = 0.0
    for i in range(u.size):
        eta = intercept + slope * u[i]
        success = _log_sigmoid(eta)
        failure = success - eta
        likelihood += x[i] * success + (total[i] - x[i]) * failure
        weight[i] = np.log(total[i]) + success + failure
    # The determinant does not depend on the origin of u; relative weights leave out a factor exp(2 top), half of which
    # is top in the logarithm.
    top, _, s0, s1, s2 = _moments(weight, u)
    determinant = s0 * s2 - s1 * s1
    if determinant <= 0:
        return np.inf
    return -(likelihood + top + np.log(determinant) / 2)


@njit(cache=True)
def _scoring_step(intercept, slope, u, x, total):
    """Fisher scoring: information^{-1} times the penalised score sum_i (x - total p + h (1/2 - p)) (1, u)."""
    weight, p = np.empty(u.size), np.empty(u.size)
    for i in range(u.size):
        eta = intercept + slope * u[i]
        success = _log_sigmoid(eta)
        p[i] = np.exp(success)
        weight[i] = np.log(total[i]) + 2 * success - eta
    top, origin, s0, s1, s2 = _moments(weight, u)
    determinant = s0 * s2 - s1 * s1
    # The penalised score. h is the leverage, the diagonal of W^{1/2} X information^{-1} X^T W^{1/2}.
    g0 = g1 = 0.0
    for i in range(u.size):
        apart = u[i] - origin
        leverage = weight[i] * (s2 - 2 * s1 * apart + s0 * apart * apart) / determinant
        residual = x[i] - total[i] * p[i] + leverage * (0.5 - p[i])
        g0 += residual
        g1 += residual * apart
    # Solve the two equations, and go back from the origin at the heaviest cell to u = 0.
    scale = np.exp(-top) / determinant
    step0, step1 = scale * (s2 * g0 - s1 * g1), scale * (s0 * g1 - s1 * g0)
    return step0 - step1 * origin, step1


@njit(cache=True)
def _ascend(intercept, slope, u, x, total):
    """(intercept, slope, loss) of the local optimum that damped scoring reaches from a start."""
    best = loss(intercept, slope, u, x, total)
    for _ in range(500):
        step0, step1 = _scoring_step(intercept, slope, u, x, total)
        size = abs(step0) + abs(step1)
        if size > 4.0:  # so far from the optimum the quadratic model means nothing
            step0, step1, size = step0 * 4.0 / size, step1 * 4.0 / size, 4.0
        # Halve the step until the loss does not rise.
        value = loss(intercept + step0, slope + step1, u, x, total)
        while value > best + 1e-13 * abs(best) and size > 1e-10:  # more than rounding
            step0, step1, size = step0 / 2, step1 / 2, size / 2
            value = loss(intercept + step0, slope + step1, u, x, total)
        intercept, slope, best = intercept + step0, slope + step1, value
        if not size > 1e-10:
            break
    return intercept, slope, best


@njit(cache=True)
def fit(u, x, total):
    """(intercept, slope, loss) of least loss; u ascending and standardised (mean 0, deviation 1).

    Few or separated data can have several optima, gentle and steep: scoring starts from the flat line and from the
    best of a scan of falling lines through the midpoints of neighbouring cells and through the rates of single cells.
    """
    # From the flat line.
    intercept, slope, best = _ascend(0.0, 0.0, u, x, total)
    # From the best of the scan: every cell's own rate (shrunk to 1/2, so that it has a logit), every midpoint's 50 %.
    start, steep, at_start = 0.0, 0.0, np.inf
    for i in range(2 * u.size - 1):
        cell = i // 2
        through = u[cell] if i % 2 == 0 else (u[cell] + u[cell + 1]) / 2
        eta = np.log((x[cell] + 0.5) / (total[cell] - x[cell] + 0.5)) if i % 2 == 0 else 0.0
        for j in range(12):
            candidate = np.exp(0.5 + 0.6 * j)
            value = loss(eta + candidate * through, -candidate, u, x, total)
            if value < at_start:
                start, steep, at_start = eta + candidate * through, -candidate, value
    if steep < 0:
        other = _ascend(start, steep, u, x, total)
        if other[2] < best:
            return other
    return intercept, slope, best


@njit(cache=True)
def refit(u, x, total, intercept, slope, intercepts, slopes):
    """Optima reached from one start, for many data sets on the same cells: rows of x and total."""
    for b in range(x.shape[0]):
        intercepts[b], slopes[b], _ = _ascend(intercept, slope, u, x[b], total[b])


@njit(cache=True)
def profile(centre, u, x, total):
    """Least loss over all negative slopes with the 50 % point at ``centre``: scan of log(-slope), golden section."""
    # A scan of slopes brackets the minimum between the neighbours of the best one.
    steps = 28
    best, least = 0, np.inf
    for i in range(steps + 1):
        slope = np.exp(-5 + 14.0 * i / steps)
        value = loss(slope * centre, -slope, u, x, total)
        if value < least:
            best, least = i, value
    low, high = -5 + 14.0 * max(0, best - 1) / steps, -5 + 14.0 * min(steps, best + 1) / steps
    # Golden section: of two inner points the better one stays, in a bracket shorter by the golden ratio.
    golden = (np.sqrt(5.0) - 1) / 2
    inner, outer = high - golden * (high - low), low + golden * (high - low)
    at_inner = loss(np.exp(inner) * centre, -np.exp(inner), u, x, total)
    at_outer = loss(np.exp(outer) * centre, -np.exp(outer), u, x, total)
    while high - low > 1e-4:
        if at_inner < at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - golden * (high - low)
            at_inner = loss(np.exp(inner) * centre, -np.exp(inner), u, x, total)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + golden * (high - low)
            at_outer = loss(np.exp(outer) * centre, -np.exp(outer), u, x, total)
    return min(least, at_inner, at_outer)
