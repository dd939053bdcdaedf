"""The few best of many offers, feature by feature, in one pass: what is kept does not depend on how offers come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Best:
    """Keeps the ``size`` offers of largest key for each of n features; among equal keys those of the lowest window.

    Args:
        n: features.
        size: offers kept of each, at least 1.

    Attributes:
        keys: of what is kept, decreasing, -inf where fewer came, (n, size).
        windows: of what is kept, -1 where fewer came, (n, size).
        values: the same for the values that came with the offers.
    """

    def __init__(self, n: int, size: int) -> None:
        self.keys: NDArray[np.float64] = np.full((n, size), -np.inf)
        self.windows: Integers = np.full((n, size), -1, np.int64)
        self.values: Floats = np.zeros((n, size), np.float32)

    def offer(self, features: Integers, keys: NDArray[np.float64], windows: Integers, values: Floats) -> None:
        """Take what is better than what is kept; a feature may come several times, never twice with one window."""
        size = self.keys.shape[1]
        able = keys >= self.keys[features, -1]
        features, keys, windows, values = features[able], keys[able], windows[able], values[able]
        if not len(features):
            return
        met = np.unique(features)
        of_all = np.concatenate([features, np.repeat(met, size)])
        all_keys = np.concatenate([keys, self.keys[met].ravel()])
        all_windows = np.concatenate([windows, self.windows[met].ravel()])
        all_values = np.concatenate([values, self.values[met].ravel()])
        order = np.lexsort((all_windows, -all_keys, of_all))
        of_all = of_all[order]
        starts = np.searchsorted(of_all, met)
        chosen = order[starts[:, None] + np.arange(size)]  # each has the size old ones at least
        self.keys[met], self.windows[met], self.values[met] = (
            all_keys[chosen],
            all_windows[chosen],
            all_values[chosen],
        )


def draws(features: Integers, windows: Integers, seed: int) -> NDArray[np.float64]:
    """A uniform number in [0, 1) for each pair of feature and window, which nothing else decides but the seed.

    SplitMix64 of the pair: the windows of largest draws are a uniform sample, whatever the batches.
    """
    with np.errstate(over="ignore"):
        x = features.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + windows.astype(np.uint64)
        x = _mixed(x + np.uint64(seed) * np.uint64(0xD1B54A32D192ED03))
    return (x >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for _ in range(2):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return x
