"""Slow, obvious reference implementations. They share no code with the package."""

import itertools

import numpy as np


def dense(mask_m, rows, values):
    matrix = np.zeros((mask_m, len(rows)))
    for j, (support, entries) in enumerate(zip(rows, values, strict=True)):
        for i, w in zip(support, entries, strict=True):
            matrix[i, j] = w
    return matrix


def omp(matrix, h, k):
    """Selected atoms in order, and coefficients by explicit least squares; ties to the lowest index."""
    chosen, coefficients, residual = [], np.zeros(0), h
    for _ in range(k):
        correlation = np.abs(matrix.T @ residual)
        correlation[chosen] = -1
        chosen.append(int(np.argmax(correlation)))
        coefficients = np.linalg.lstsq(matrix[:, chosen], h, rcond=None)[0]
        residual = h - matrix[:, chosen] @ coefficients
    return chosen, coefficients


def least_neighbours(rows, size):
    """min |N(S)| over all sets of ``size`` columns, by enumeration."""
    sets = itertools.combinations(range(len(rows)), size)
    return min(len(set(itertools.chain.from_iterable(rows[j] for j in s))) for s in sets)


def babel(matrix, k):
    unit = matrix / np.linalg.norm(matrix, axis=0)
    gram = np.abs(unit.T @ unit)
    best = 0.0
    for j in range(gram.shape[0]):
        others = sorted((gram[j, l] for l in range(gram.shape[0]) if l != j), reverse=True)
        best = max(best, sum(others[:k]))
    return best


def sae_forward(weight_dense, b_enc, b_dec, scale, k, h):
    """The SAE of its docstring with an explicit (n, m) decoder, in plain numpy."""
    x = scale * h - b_dec
    scores = x @ weight_dense.T + b_enc
    out = np.empty_like(h)
    for b in range(len(h)):
        kept = np.argsort(-scores[b], kind="stable")[:k]
        code = np.zeros(len(b_enc))
        code[kept] = np.maximum(scores[b, kept], 0)
        out[b] = (code @ weight_dense + b_dec) / scale
    return out
