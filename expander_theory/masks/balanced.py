"""Random masks whose rows all have the same degree, up to one."""

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.sampling.balanced import repair_repeats
from expander_theory.base import Seed, generator
from expander_theory.masks.mask import Mask
from expander_theory.masks.random import recipe, require_sizes


def biregular_mask(m: int, n: int, d: int, *, seed: Seed) -> Mask:
    """A random mask with d rows in every column and floor(nd/m) or ceil(nd/m) columns through every row.

    Configuration model: the nd row stubs (the nd mod m rows with one more are drawn at random) are
    dealt to the columns in random order, then rows repeated in a column are swapped away. That is
    close to, but not exactly, uniform over these masks. Balanced row degrees make the universal
    upper bound on expansion, THEORY.md EXP-7(a), as weak as it can be.

    Exists and is found for every d <= m: a swap needs at most 2d tries on average, since d <= m/2
    leaves more than half of the columns without the repeated row; where d > m/2, the complement
    of a mask of degree m - d is returned.

    Raises:
        InvalidArgument: m, n or d below 1, or d > m.
    """
    m, n, d = require_sizes(m, n, d)
    rng = generator(seed, "biregular mask")
    rows = _balanced_rows(rng, m, n, d) if 2 * d <= m else _complement(_balanced_rows(rng, m, n, m - d), m)
    return Mask(m, np.sort(rows, axis=1), recipe("biregular", f"m={m}, n={n}, d={d}", seed))


def _balanced_rows(rng: np.random.Generator, m: int, n: int, d: int) -> NDArray[np.int32]:
    degrees = np.full(m, n * d // m)
    degrees[rng.permutation(m)[: n * d % m]] += 1
    stubs = np.repeat(np.arange(m, dtype=np.int32), degrees)
    rng.shuffle(stubs)
    rows = stubs.reshape(n, d)
    repair_repeats(rng, rows)
    return rows


def _complement(rows: NDArray[np.int32], m: int) -> NDArray[np.int32]:
    n, d = rows.shape
    free = np.ones((n, m), np.bool_)
    np.put_along_axis(free, rows.astype(np.int64), False, axis=1)
    return np.nonzero(free)[1].astype(np.int32).reshape(n, m - d)
