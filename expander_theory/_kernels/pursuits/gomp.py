"""Generalised OMP: several atoms a step, least squares on all of them, the largest k kept at the end.

A step costs one correlation with all columns, O(n d) on a mask and O(n m) dense, and O(t^2 + t d) for each of its
atoms, t being how many there are. Source: Wang, Kwon and Shim 2012.
"""

import numpy as np

from expander_theory._kernels.pursuits.atoms import (
    DEPENDENT_ATOM,
    NO_CORRELATION,
    RESIDUAL_SMALL,
    SPARSITY_REACHED,
    correlate,
    norm,
)
from expander_theory._kernels.pursuits.least_squares import include, new_fit, significant, solve
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory.base import njit


@njit(cache=True, nogil=True)
def gomp(columns, h, k, atoms_per_step, tolerance, pivot_tolerance, found):
    """gOMP with unit columns; fills one row of ``found`` per signal."""
    n, m = columns.values.shape[0], h.shape[1]
    residual = np.empty(m, h.dtype)
    scores = np.empty(n, h.dtype)
    picks, moduli = np.empty(atoms_per_step, np.int64), np.empty(atoms_per_step, h.dtype)
    fit = new_fit(min(k * atoms_per_step, m), h[0])
    for b in range(h.shape[0]):
        signal = h[b]
        residual[:] = signal
        left = norm(residual)
        floor = tolerance * left
        size, step = 0, 0
        status = SPARSITY_REACHED
        while step < k and left > floor:
            # Select the columns of largest |<w_j, r>| outside the support: on it only rounding is left.
            correlate(columns, residual, scores)
            for j in range(n):
                scores[j] = abs(scores[j])
            for t in range(size):
                scores[fit.atoms[t]] = 0
            k_largest(scores, picks, moduli)
            if moduli[0] == 0:
                status = NO_CORRELATION
                break
            # Grow the factor by each of them; an atom in the span of those before adds nothing and is left out.
            before = size
            for p in range(atoms_per_step):
                if moduli[p] > 0 and include(columns, signal, picks[p], size, pivot_tolerance, fit):
                    size += 1
            if size == before:
                status = DEPENDENT_ATOM
                break
            # Project the signal on the new span, which also gives the residual.
            left = solve(columns, signal, size, fit, residual)
            step += 1
        if size > 0:
            # The support may hold more than k atoms: keep the k of largest |c|, and fit the signal on these anew.
            kept = _keep_largest(k, size, fit)
            if kept < size:
                size = 0
                for t in range(kept):
                    if include(columns, signal, fit.atoms[t], size, pivot_tolerance, fit):
                        size += 1
                left = solve(columns, signal, size, fit, residual)
        # Atoms stand in the order of their selection.
        for t in range(size):
            found.indices[b, t] = fit.atoms[t]
            found.coefficients[b, t] = fit.c[t]
        found.steps[b] = size
        found.status[b] = RESIDUAL_SMALL if left <= floor else status
        found.iterations[b] = step
        found.residuals[b] = left


@njit(cache=True, nogil=True)
def _keep_largest(k, size, fit):
    """Move the atoms of the k largest |c| to the front, in their order of selection; ties go to the earlier.

    Coefficients that are rounding error next to the largest do not count. Returns how many are kept.
    """
    k = min(k, size)
    picks, moduli = np.empty(k, np.int64), np.empty(k, fit.c.dtype)
    k_largest(np.abs(fit.c[:size]), picks, moduli)
    kept = significant(moduli)
    for place, t in enumerate(np.sort(picks[:kept])):
        fit.atoms[place] = fit.atoms[t]
    return kept
