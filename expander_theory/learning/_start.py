"""Columns to begin with, taken from data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import generator
from expander_theory.dictionaries import Floats
from expander_theory.masks import uniform_mask

_TOGETHER = 4096
"""Samples whose entries are sorted at a time."""


def largest_rows(samples: Floats, d: int) -> NDArray[np.int32]:
    """The rows (c, d), increasing, of the d entries of largest modulus of each sample (c, m); ties go to the first."""
    found = np.empty((len(samples), d), np.int32)
    for first in range(0, len(samples), _TOGETHER):
        part = samples[first : first + _TOGETHER]
        found[first : first + len(part)] = np.sort(np.argsort(-np.abs(part), axis=1, kind="stable")[:, :d], axis=1)
    return found


def unit_columns(samples: Floats, rows: NDArray[np.int32]) -> tuple[Floats, NDArray[np.bool_]]:
    """Samples (c, m) on rows (c, d) as columns of unit norm (c, d), and which of them are not zero there."""
    values = np.take_along_axis(samples, rows.astype(np.int64), axis=1)
    largest = np.abs(values).max(axis=1, keepdims=True)
    sound = largest[:, 0] > 0
    values = np.where(largest > 0, values / np.where(largest > 0, largest, 1), 0)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.where(norms > 0, norms, 1)).astype(samples.dtype, copy=False), sound


def chosen_samples(x: Floats, count: int, seed: int) -> Floats:
    """Up to ``count`` different rows of x (samples, m) that are not zero, in random order."""
    usable = np.nonzero(x.any(axis=1))[0]
    return x[generator(seed, "first samples").permutation(usable)[:count]]


def first_columns(
    samples: Floats, count: int, d: int, seed: int, rows: NDArray[np.int32] | None = None
) -> tuple[NDArray[np.int32], Floats]:
    """Columns of degree d: the first ones samples on the rows of their largest entries, the others random.

    Args:
        samples: (any number, m); those after the first ``count`` are not used.
        count: of columns.
        d: rows of a column.
        seed: of the random columns: uniform rows and signs, as of those whose sample is zero.
        rows: where the columns stand, int32 (count, d), instead of where their sample is largest.

    Returns:
        rows (count, d) int32, increasing, and values (count, d) of unit norm in the dtype of the samples.
    """
    m = samples.shape[1]
    found = uniform_mask(m, count, d, seed=seed).rows.copy() if rows is None else rows.copy()
    signs: Any = generator(seed, "first signs").choice([-1.0, 1.0], (count, d))
    values = (signs / np.sqrt(d)).astype(samples.dtype)
    given = samples[:count]
    at = largest_rows(given, d) if rows is None else rows[: len(given)]
    taken, sound = unit_columns(given, at)
    found[: len(given)][sound] = at[sound]
    values[: len(given)][sound] = taken[sound]
    return found, values
