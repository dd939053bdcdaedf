"""Least squares on a set of atoms that grows, in coefficient space, also where atoms are dependent.

W_S^T W_S = U^T U (Cholesky, one column of U an atom), z = U^{-T} W_S^T h, U c = z. An atom in the span of those before
it is left out. One step of iterative refinement makes up for the squared condition number. With t atoms, one more costs
O(t^2 + t d), and so does a solution.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.pursuits.atoms import inner, residual_of, subtract
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory.base import njit


class Fit(NamedTuple):
    """Room for as many atoms as ``atoms`` is long: S, U, z, c, a vector of that length, and one of length m."""

    atoms: Any
    factor: Any
    z: Any
    c: Any
    work: Any
    column: Any


@njit(cache=True, nogil=True)
def new_fit(capacity, h):
    """An empty fit for up to ``capacity`` atoms and signals like ``h``."""
    return Fit(
        np.empty(capacity, np.int64), np.empty((capacity, capacity), h.dtype), np.empty(capacity, h.dtype),
        np.empty(capacity, h.dtype), np.empty(capacity, h.dtype), np.empty(h.size, h.dtype),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def include(columns, h, atom, size, pivot_tolerance, fit):
    """Make ``atom`` number ``size`` of the fit; False if its squared distance to the others' span is too small."""
    if size == fit.atoms.size:
        return False
    # The atom as a vector of length m, so that each overlap with an earlier atom is one pass over that atom's entries.
    u = fit.work
    fit.column[:] = 0
    subtract(columns, atom, u.dtype.type(-1), fit.column)
    pivot = np.dot(fit.column, fit.column)
    # The new column of U is U^{-T} W_S^T w, and its diagonal the distance of w from span W_S.
    for i in range(size):
        u[i] = inner(columns, fit.atoms[i], fit.column)
    _forward(fit.factor, size, u)
    for i in range(size):
        pivot -= u[i] * u[i]
    if not pivot > pivot_tolerance:
        return False
    # Extend U^T z = W_S^T h by its last row.
    root, target = np.sqrt(pivot), inner(columns, atom, h)
    for i in range(size):
        target -= u[i] * fit.z[i]
        fit.factor[i, size] = u[i]
    fit.factor[size, size] = root
    fit.z[size] = target / root
    fit.atoms[size] = atom
    return True


@njit(cache=True, nogil=True)
def solve(columns, h, size, fit, residual):
    """fit.c = argmin ||h - W_S c|| on the first ``size`` atoms, residual = h - W_S c; returns its norm."""
    # U c = z solves the normal equations.
    fit.c[:size] = fit.z[:size]
    _backward(fit.factor, size, fit.c)
    residual_of(columns, h, fit.atoms, fit.c, size, residual)
    # Refine: what of the residual is still in span W_S goes into c, by the same factor.
    for i in range(size):
        fit.work[i] = inner(columns, fit.atoms[i], residual)
    _forward(fit.factor, size, fit.work)
    _backward(fit.factor, size, fit.work)
    for i in range(size):
        fit.c[i] += fit.work[i]
    return residual_of(columns, h, fit.atoms, fit.c, size, residual)


@njit(cache=True, nogil=True)
def significant(moduli):
    """How many of the decreasing |coefficients| exceed 100 machine epsilons of the first: the others are rounding."""
    count = 0
    while count < moduli.size and moduli[count] > 100 * np.finfo(moduli.dtype).eps * moduli[0]:
        count += 1
    return count


@njit(cache=True, nogil=True)
def prune(fit, fitted, support, c):
    """The largest |coefficients| of the fit become the code, decreasing; rounding errors do not. Returns its size."""
    k = min(support.size, fitted)
    # Coefficients at the level of rounding would enter the support by chance.
    picks, moduli = np.empty(k, np.int64), np.empty(k, c.dtype)
    k_largest(np.abs(fit.c[:fitted]), picks, moduli)
    size = significant(moduli)
    support[:] = -1
    c[:] = 0
    for t in range(size):
        support[t] = fit.atoms[picks[t]]
        c[t] = fit.c[picks[t]]
    return size


@njit(cache=True, nogil=True)
def _forward(factor, size, v):
    """v = U^{-T} v; between columns that share no row there are exact zeros to skip."""
    for i in range(size):
        if v[i] != 0:
            row = factor[i]
            entry = v[i] / row[i]
            v[i] = entry
            for l in range(i + 1, size):
                v[l] -= entry * row[l]


@njit(cache=True, nogil=True)
def _backward(factor, size, v):
    """v = U^{-1} v."""
    for i in range(size - 1, -1, -1):
        total, row = v[i], factor[i]
        for l in range(i + 1, size):
            total -= row[l] * v[l]
        v[i] = total / row[i]
