"""Initial decoder values: entry (row, column) is a function of the seed alone.

So an expander starts at the dense start restricted to its mask, whatever the mask, in O(d n) memory.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import derived_seed

_BLOCK = 1 << 20  # entries at a time


def initial_weight(
    m: int, n: int, rows: NDArray[np.int32] | None, *, seed: int, purpose: str, first: int = 0
) -> Tensor:
    """Standard Gaussian entries, float32, by column: shape (n, d) at the ``rows`` (n, d) of a mask, else (n, m).

    Args:
        seed, purpose: together decide the values; equal for masked and dense.
        first: the number of the first of these n columns, where others go before them.
    """
    key = np.uint64(derived_seed(seed, purpose) % 2**64)
    width = m if rows is None else rows.shape[1]
    out = np.empty((n, width), np.float32)
    step = max(1, _BLOCK // width)
    for begin in range(0, n, step):
        columns = np.arange(first + begin, first + min(n, begin + step), dtype=np.uint64)[:, None]
        entries = np.arange(m, dtype=np.uint64) if rows is None else rows[begin : begin + step].astype(np.uint64)
        out[begin : begin + step] = _gaussian(columns * np.uint64(m) + entries, key)
    return torch.from_numpy(out)


def _gaussian(counters: NDArray[np.uint64], key: np.uint64) -> NDArray[np.float64]:
    """Box-Muller on a counter-based generator (SplitMix64, Steele et al. 2014)."""
    x = _mix(_mix(counters * np.uint64(0x9E3779B97F4A7C15) + key) + key)
    high, low = (x >> np.uint64(32)).astype(np.float64), (x & np.uint64(0xFFFFFFFF)).astype(np.float64)
    return np.sqrt(-2 * np.log((high + 0.5) / 2**32)) * np.cos(2 * np.pi * low / 2**32)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
