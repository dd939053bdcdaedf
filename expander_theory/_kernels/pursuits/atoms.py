"""Loops over the atoms of a dictionary, masked or dense, and what the iterative solvers fill.

Columns are ``values`` (n, d) with ``rows`` (n, d), or ``values`` (n, m) with empty ``rows`` if dense. An atom costs its
d (dense: m) entries, a correlation with all columns n times that.

Columns and results come as named tuples here: the solvers on these loops spend their time in passes over all columns,
beside which counting references, as numba does where a tuple is opened, is nothing. In OMP it is not
(:mod:`expander_theory._kernels.omp.pursuit`).
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory.base import njit

SPARSITY_REACHED, RESIDUAL_SMALL, DEPENDENT_ATOM, NO_CORRELATION = 0, 1, 2, 3
SUPPORT_STABLE, ITERATION_LIMIT, NO_UPDATE, OPTIMAL, FAILED = 5, 6, 7, 8, 9


class Columns(NamedTuple):
    """A dictionary of unit or other columns."""

    rows: Any
    values: Any


class Found(NamedTuple):
    """One row a signal, of the shapes of a ``Recovery``; ``indices`` starts at -1 and all else at 0."""

    indices: Any
    coefficients: Any
    steps: Any
    status: Any
    residuals: Any
    iterations: Any


@njit(cache=True, nogil=True)
def inner(columns, j, vector):
    """<w_j, vector>."""
    rows, values = columns.rows, columns.values
    if rows.size == 0:
        return np.dot(values[j], vector)
    total = vector.dtype.type(0)
    for i in range(rows.shape[1]):
        total += values[j, i] * vector[rows[j, i]]
    return total


@njit(cache=True, nogil=True)
def subtract(columns, j, coefficient, vector):
    """vector -= coefficient w_j."""
    rows, values = columns.rows, columns.values
    if rows.size == 0:
        for i in range(vector.size):
            vector[i] -= coefficient * values[j, i]
    else:
        for i in range(rows.shape[1]):
            vector[rows[j, i]] -= coefficient * values[j, i]


@njit(cache=True, nogil=True)
def correlate(columns, vector, scores):
    """scores = W^T vector."""
    if columns.rows.size == 0:
        np.dot(columns.values, vector, scores)  # one matrix-vector product of the BLAS
    else:
        for j in range(scores.size):
            scores[j] = inner(columns, j, vector)


@njit(cache=True, nogil=True)
def squared_norm(columns, j):
    """||w_j||_2^2, added up in float64."""
    values = columns.values
    total = 0.0
    for i in range(values.shape[1]):
        total += float(values[j, i]) ** 2
    return total


@njit(cache=True, nogil=True)
def norm(vector):
    """||vector||_2, added up in float64."""
    total = 0.0
    for i in range(vector.size):
        total += float(vector[i]) * float(vector[i])
    return np.sqrt(total)


@njit(cache=True, nogil=True)
def residual_of(columns, h, atoms, coefficients, count, residual):
    """residual = h - W x for the first ``count`` atoms; returns its norm."""
    residual[:] = h
    for t in range(count):
        subtract(columns, atoms[t], coefficients[t], residual)
    return norm(residual)
