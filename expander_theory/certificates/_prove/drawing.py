"""Supports that nobody chooses: drawn by a stream whose key is the dictionary and the claim (SAMPLED.md: supports)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.results import canonical_json


def supports_of(key: dict[str, Any], n: int, k: int, count: int) -> NDArray[np.int64]:
    """``count`` uniform supports of k of n columns, increasing, (count, k)."""
    numbers = _numbers(key, n, count * k)
    out = np.empty((count, k), np.int64)
    for t in range(count):
        chosen: set[int] = set()
        while len(chosen) < k:
            chosen.add(next(numbers))
        out[t] = sorted(chosen)
    return out


def places_of(key: dict[str, Any], most: int, count: int) -> NDArray[np.int64]:
    """``count`` numbers below ``most``."""
    numbers = _numbers(key, most, count)
    return np.array([next(numbers) for _ in range(count)], np.int64)


def _numbers(key: dict[str, Any], most: int, guess: int) -> Iterator[int]:
    """Numbers below ``most``: the top bits of the words of Philox, those that are too large left out."""
    digest = hashlib.sha256(canonical_json(key).encode()).digest()
    words = np.random.Philox(key=int.from_bytes(digest[:16], "big"))
    shift = 64 - max(1, (most - 1).bit_length())
    while True:
        drawn = words.random_raw(max(64, guess)) >> np.uint64(shift)
        yield from drawn[drawn < most].tolist()
