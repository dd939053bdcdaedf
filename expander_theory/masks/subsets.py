"""Independent uniform subsets: the columns of a mask, the supports of codes."""

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.sampling.subsets import subsets_from


def uniform_subsets(rng: np.random.Generator, m: int, count: int, size: int) -> NDArray[np.int32]:
    """``count`` independent uniform subsets of 0..m-1 of the given size, int32 (count, size), increasing in each row.

    Floyd's algorithm, exact, O(count size^2) time for any m below 2^31. The arguments are not checked.
    """
    out = np.empty((count, size), np.int32)
    raw = _words(rng, count * (size - (size == m)))
    while not subsets_from(raw, m, out):
        raw = np.append(raw, _words(rng, 1))
    return out


def _words(rng: np.random.Generator, count: int) -> NDArray[np.uint32]:
    return rng.integers(0, 2**32, count, dtype=np.uint32)
