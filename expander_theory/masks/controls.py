"""Masks that lack what makes an expander: for controls with the same number of stored values."""

import numpy as np

from expander_theory.base import Seed, generator, require, require_int
from expander_theory.masks.mask import Mask
from expander_theory.masks.random import recipe, require_sizes, uniform_mask


def clustered_mask(m: int, n: int, d: int, *, seed: Seed) -> Mask:
    """Block supports: floor(m / d) disjoint blocks of d rows, every column on one of them, drawn uniformly.

    The control "clustered sparse" of the paper's code. Columns of one block have the same support; the m mod d last
    rows are in no block. Expansion of two columns is 1/2 already where two share a block.

    Args:
        m, n, d: rows, columns, nonzeros a column; 1 <= d <= m.
        seed: of the blocks.

    Raises:
        InvalidArgument: a size out of range.
    """
    m, n, d = require_sizes(m, n, d)
    blocks = generator(seed, "clustered mask").integers(0, m // d, size=n)
    rows = blocks[:, None] * d + np.arange(d)
    return Mask(m, rows, recipe("clustered", f"m={m}, n={n}, d={d}", seed))


def repeated_mask(m: int, n: int, d: int, *, supports: int, seed: Seed) -> Mask:
    """Low diversity: only so many different supports (uniform random), column j has number j mod supports.

    Args:
        m, n, d: rows, columns, nonzeros a column; 1 <= d <= m.
        supports: different ones, 1 to n.
        seed: of the supports.

    Raises:
        InvalidArgument: a size out of range.
    """
    m, n, d = require_sizes(m, n, d)
    supports = require_int("supports", supports)
    require(1 <= supports <= n, "supports", supports, f"must be between 1 and n = {n}")
    some = uniform_mask(m, supports, d, seed=seed).rows
    about = recipe("repeated", f"m={m}, n={n}, d={d}, supports={supports}", seed)
    return Mask(m, some[np.arange(n) % supports], about)


def contiguous_mask(m: int, n: int, d: int, *, seed: Seed) -> Mask:
    """Windows: every column has d neighbouring rows (cyclically), from a uniform first row. At most m supports.

    Args:
        m, n, d: rows, columns, nonzeros a column; 1 <= d <= m.
        seed: of the windows.

    Raises:
        InvalidArgument: a size out of range.
    """
    m, n, d = require_sizes(m, n, d)
    first = generator(seed, "contiguous mask").integers(0, m, size=n)
    rows = np.sort((first[:, None] + np.arange(d)) % m, axis=1)
    return Mask(m, rows, recipe("contiguous", f"m={m}, n={n}, d={d}", seed))
