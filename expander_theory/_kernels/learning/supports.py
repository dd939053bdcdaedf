"""Drop and grow: columns exchange rows of small values for rows where the residual asks for larger ones."""

import numpy as np

from expander_theory._kernels.learning.columns import to_unit_norm
from expander_theory.base import njit


@njit(cache=True)
def exchange(rows, values, first, entries, residual, most, least_uses):
    """Up to ``most`` exchanges in every column in turn, codes held constant; rows, values and R change in place.

    With g = R^T x_j / ||x_j||^2 the column v_j + g is the minimiser of ||H - X W^T||_F over all of R^m, and its d
    entries of largest modulus are the minimiser under d nonzeros. The row that this keeps least, argmin over N(j) of
    |v_j + g|, is exchanged for argmax over the others of |g|, where that is larger: the new value is g there, so that
    every exchange lowers the error of these signals. The largest gradient decides as in RigL (Evci et al. 2020), where
    the smallest value is dropped whatever comes instead, and the new one starts at zero.

    Afterwards the column has unit norm and increasing rows. R is that of the columns before they are normalised, up to
    what :func:`columns.update` puts right in the next batch.

    Args:
        rows: int32 (c, d), values (c, d): columns ``first`` to ``first + c - 1`` of the dictionary.
        entries: the codes, :class:`columns.Entries`, of the signals of ``residual`` (B, m).
        most: 1 .. min(d, m - d).
        least_uses: a column that fewer signals use stays.

    Returns:
        the number of exchanges.
    """
    d, m = rows.shape[1], residual.shape[1]
    gradient, wanted = np.empty(m, values.dtype), np.empty(d, values.dtype)
    total = 0
    for j in range(rows.shape[0]):
        begin, end = entries.starts[first + j], entries.starts[first + j + 1]
        square = np.float64(0)
        gradient[:] = 0
        for q in range(begin, end):
            b, x = entries.signals[q], entries.coefficients[q]
            square += np.float64(x) * x
            for i in range(m):
                gradient[i] += x * residual[b, i]
        if end - begin < least_uses or square == 0:
            continue
        for i in range(m):
            gradient[i] /= square
        for i in range(d):
            wanted[i] = abs(values[j, i] + gradient[rows[j, i]])
            gradient[rows[j, i]] = 0
        moved = 0
        while moved < most:
            out, into = np.argmin(wanted), np.argmax(np.abs(gradient))
            if not abs(gradient[into]) > wanted[out]:
                break
            for q in range(begin, end):
                b, x = entries.signals[q], entries.coefficients[q]
                residual[b, rows[j, out]] += x * values[j, out]
                residual[b, into] -= x * gradient[into]
            rows[j, out], values[j, out] = into, gradient[into]
            wanted[out], gradient[into] = np.inf, 0  # neither moves twice
            moved += 1
        if moved:
            order = np.argsort(rows[j])
            rows[j], values[j] = rows[j][order], values[j][order]
            to_unit_norm(values[j])
            total += moved
    return total
