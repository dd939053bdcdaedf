"""The k largest entries of dense codes as a recovery, fitted anew where that is asked for."""

import numpy as np

from expander_theory._kernels.pursuits import refit as kernel
from expander_theory._kernels.pursuits.atoms import Columns, Found
from expander_theory.dictionaries import Floats


def keep_largest(columns: Columns, h: Floats, x: Floats, found: Found, *, refit: bool, nonnegative: bool) -> None:
    """Fill atoms, coefficients, steps and residual norms of ``found`` with the k largest |x_j|, k being its width.

    Args:
        columns: the dictionary in the dtype of the signals.
        h: (batch, m), in unit range.
        x: (batch, n) codes; nonnegative ones if ``nonnegative``.
        found: empty.
        refit: replace the coefficients by least squares on the atoms kept, under x >= 0 if ``nonnegative``.
    """
    k, epsilon = found.indices.shape[1], float(np.finfo(h.dtype).eps)
    kernel.keep_largest(columns, h, x, refit, 30 * k * epsilon, found)
    if refit and nonnegative:
        # Where all coefficients are nonnegative, so is the constrained minimiser: they are the same.
        for b in np.flatnonzero((found.coefficients < 0).any(axis=1)):
            _fit_nonnegative(columns, h[b], x[b], int(b), found)


def _fit_nonnegative(columns: Columns, h: Floats, x: Floats, b: int, found: Found) -> None:
    """argmin ||h - W_S c|| over c >= 0 on the k largest entries of one code, in float64."""
    from scipy.optimize import nnls

    k = found.indices.shape[1]
    atoms = np.argsort(-x, kind="stable")[:k]
    atoms = atoms[x[atoms] > 0]
    if columns.rows.size:
        matrix = np.zeros((h.size, atoms.size))
        np.add.at(matrix, (columns.rows[atoms].T, np.arange(atoms.size)), columns.values[atoms].T)
    else:
        matrix = columns.values[atoms].T.astype(np.float64)
    try:
        c = nnls(matrix, h.astype(np.float64))[0]
    except RuntimeError:  # the active sets did not settle: the entries of the code itself are feasible
        c = x[atoms].astype(np.float64)
    order = np.argsort(-c, kind="stable")
    order = order[c[order] > 100 * np.finfo(h.dtype).eps * c.max(initial=0)]
    size = order.size
    found.indices[b], found.coefficients[b] = -1, 0
    found.indices[b, :size], found.coefficients[b, :size] = atoms[order], c[order]
    found.steps[b] = size
    found.residuals[b] = np.linalg.norm(h - matrix[:, order] @ found.coefficients[b, :size])
