"""Solvers by their papers' definitions on an explicit matrix (m, n), float64, slow; no code of the package is used.

Each returns (code of length n, iterations) or says what else. Signals are not scaled; tolerances are relative to them.
"""

import itertools

import numpy as np


def largest(scores, count):
    """Places of the ``count`` largest scores, decreasing, ties to the lowest place; zeros are left out."""
    return [int(j) for j in np.argsort(-scores, kind="stable")[:count] if scores[j] > 0]


def without_rounding(coefficients):
    """Moduli, with zero for those below 100 machine epsilons of the largest."""
    moduli = np.abs(coefficients)
    return np.where(moduli > 100 * np.finfo(float).eps * moduli.max(initial=0), moduli, 0)


def fit(matrix, h, atoms):
    """Least squares on those atoms that are not in the span of the ones before: they, and their coefficients."""
    kept = []
    for j in atoms:
        if np.linalg.matrix_rank(matrix[:, [*kept, j]], tol=1e-7) > len(kept):
            kept.append(j)
    return kept, np.linalg.lstsq(matrix[:, kept], h, rcond=None)[0]


def code_of(n, atoms, coefficients):
    code = np.zeros(n)
    code[atoms] = coefficients
    return code


def matching_pursuit(matrix, h, k, limit, tolerance):
    code, residual = np.zeros(matrix.shape[1]), h.copy()
    for step in range(limit):
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(h):
            return code, step
        correlation = matrix.T @ residual
        atom = int(np.argmax(np.abs(correlation)))
        if correlation[atom] == 0 or (code[atom] == 0 and np.count_nonzero(code) == k):
            return code, step
        code[atom] += correlation[atom]
        residual = h - matrix @ code
    return code, limit


def gomp(matrix, h, k, per_step, tolerance):
    """Also returns the atoms in order of selection."""
    chosen, coefficients, residual, steps = [], np.zeros(0), h, 0
    while steps < k and np.linalg.norm(residual) > tolerance * np.linalg.norm(h):
        scores = np.abs(matrix.T @ residual)
        scores[chosen] = 0
        chosen, coefficients = fit(matrix, h, chosen + largest(scores, per_step))
        residual = h - matrix[:, chosen] @ coefficients
        steps += 1
    kept = [chosen[t] for t in sorted(largest(without_rounding(coefficients), k))]
    kept, coefficients = fit(matrix, h, kept)
    return code_of(matrix.shape[1], kept, coefficients), steps, kept


def cosamp(matrix, h, k, limit, tolerance):
    code = np.zeros(matrix.shape[1])
    for step in range(limit):
        residual = h - matrix @ code
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(h):
            return code, step
        proxy = np.abs(matrix.T @ residual)
        candidates = sorted({*largest(proxy, 2 * k), *np.nonzero(code)[0].tolist()})
        atoms, coefficients = fit(matrix, h, candidates)
        b = code_of(code.size, atoms, coefficients)
        kept = largest(without_rounding(b), k)
        code = code_of(code.size, kept, b[kept])
    return code, limit


def niht(matrix, h, k, limit, tolerance, c=0.01, kappa=2 / 0.99):
    def keep(v):
        kept = largest(np.abs(v), k)
        return code_of(v.size, kept, v[kept]), set(kept)

    code = np.zeros(matrix.shape[1])
    _, support = keep(matrix.T @ h)
    for step in range(limit):
        residual = h - matrix @ code
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(h):
            return code, step
        gradient = matrix.T @ residual
        on = sorted(support)
        mu = np.sum(gradient[on] ** 2) / np.sum((matrix[:, on] @ gradient[on]) ** 2)
        trial, entered = keep(code + mu * gradient)
        while entered != support:
            change = trial - code
            if mu <= (1 - c) * np.sum(change**2) / np.sum((matrix @ change) ** 2):
                break
            mu /= kappa * (1 - c)
            trial, entered = keep(code + mu * gradient)
        code, support = trial, entered
    return code, limit


def ssmp(matrix, h, k, updates, phases, tolerance):
    """Every step of every column at every ratio is tried."""
    code = np.zeros(matrix.shape[1])
    floor = tolerance * np.abs(h).sum()
    for phase in range(phases):
        residual = h - matrix @ code
        if np.abs(residual).sum() <= floor:
            return code, phase
        for _ in range(updates):
            steps, gains = zip(*(_best_step(matrix[:, j], residual) for j in range(code.size)), strict=True)
            if max(gains) <= floor:
                break
            atom = next(j for j, gain in enumerate(gains) if gain >= max(gains) - 2e-14 * np.abs(h).sum())
            code[atom] += steps[atom]
            residual = residual - steps[atom] * matrix[:, atom]
        kept = largest(np.abs(code), k)
        code = code_of(code.size, kept, code[kept])
    return code, phases


def _best_step(column, residual):
    on = column != 0
    steps = np.concatenate([[0.0], residual[on] / column[on]])
    costs = np.abs(residual[on][None] - steps[:, None] * column[on][None]).sum(axis=1)
    best = min(abs(z) for z, cost in zip(steps, costs, strict=True) if cost <= costs.min() + 1e-12)
    at = int(np.nonzero((np.abs(steps) == best) & (costs <= costs.min() + 1e-12))[0][0])
    return steps[at], costs[0] - costs[at]


def least_l1(matrix, h, nonnegative):
    """The least l1 norm of a solution of matrix x = h, over all bases; infinity if there is none."""
    m, n = matrix.shape
    best = np.inf
    for basis in itertools.combinations(range(n), m):
        square = matrix[:, basis]
        if abs(np.linalg.det(square)) > 1e-9:
            x = np.linalg.solve(square, h)
            if not nonnegative or x.min() >= -1e-9:
                best = min(best, np.abs(x).sum())
    return best


def htp(matrix, h, k, limit, tolerance, mu=1.0):
    """Also returns the code of every step, the empty one first."""
    code = np.zeros(matrix.shape[1])
    trail = [code]
    for step in range(limit):
        residual = h - matrix @ code
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(h):
            return code, step, trail
        gradient = matrix.T @ residual
        atoms, coefficients = fit(matrix, h, sorted(largest(np.abs(code + mu * gradient), k)))
        code = code_of(code.size, atoms, np.where(without_rounding(coefficients) > 0, coefficients, 0))
        trail.append(code)
    return code, limit, trail


def subspace_pursuit(matrix, h, k, limit, tolerance):
    code, left = np.zeros(matrix.shape[1]), np.linalg.norm(h)
    for step in range(limit):
        residual = h - matrix @ code
        if left <= tolerance * np.linalg.norm(h):
            return code, step
        candidates = sorted({*largest(np.abs(matrix.T @ residual), k), *np.nonzero(code)[0].tolist()})
        atoms, coefficients = fit(matrix, h, candidates)
        kept = largest(np.abs(code_of(code.size, atoms, coefficients)), k)
        atoms, coefficients = fit(matrix, h, sorted(kept))
        now = np.linalg.norm(h - matrix[:, atoms] @ coefficients)
        if now >= left:
            return code, step
        code, left = code_of(code.size, atoms, coefficients), now
    return code, limit


def smp(matrix, h, k, limit, tolerance):
    code = np.zeros(matrix.shape[1])
    for step in range(limit):
        residual = h - matrix @ code
        if np.abs(residual).sum() <= tolerance * np.abs(h).sum():
            return code, step
        estimates = np.array([_best_step(column, residual)[0] for column in matrix.T])
        believed = largest(np.abs(estimates), 2 * k)
        code = code + code_of(code.size, believed, estimates[believed])
        kept = largest(np.abs(code), k)
        code = code_of(code.size, kept, code[kept])
    return code, limit


def amp(matrix, h, tau, nonnegative, damping, limit):
    """The code after ``limit`` iterations, not pruned."""
    m, n = matrix.shape
    code, z = np.zeros(n), h.copy()
    for _ in range(limit):
        theta = tau * np.linalg.norm(z) / np.sqrt(m)
        pseudo = code + matrix.T @ z
        shrunk = np.maximum(pseudo - theta, 0)
        if not nonnegative:
            shrunk = shrunk - np.maximum(-pseudo - theta, 0)
        onsager = np.count_nonzero(shrunk) / m
        code = (1 - damping) * code + damping * shrunk
        z = (1 - damping) * z + damping * (h - matrix @ code + onsager * z)
    return code


def lasso(matrix, h, weight, nonnegative, rounds=20000):
    """The minimiser of 1/2 ||h - matrix x||^2 + weight ||x||_1, by accelerated proximal gradient steps (FISTA)."""
    step = 1 / np.linalg.norm(matrix, 2) ** 2
    code = ahead = np.zeros(matrix.shape[1])
    momentum = 1.0
    for _ in range(rounds):
        u = ahead + step * (matrix.T @ (h - matrix @ ahead))
        after = np.maximum(u - step * weight, 0)
        if not nonnegative:
            after = after - np.maximum(-u - step * weight, 0)
        if np.dot(ahead - after, after - code) > 0:  # restart
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / following * (after - code)
        code, momentum = after, following
    return code
