"""Data that scikit-learn brings with it: patches of a photograph, and digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import derived_seed, generator

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Samples to learn a dictionary from.

    Attributes:
        name: for tables and files.
        n: atoms.
        k: atoms in a code.
        side: the pixels of a side: m = side^2.
        train: (samples, m), held_out: (samples, m), both with the mean of ``train`` taken away.
    """

    name: str
    n: int
    k: int
    side: int
    train: Samples
    held_out: Samples

    @property
    def energy(self) -> float:
        """Of ``held_out`` about the mean of ``train``: what an FVU is a share of."""
        return float(np.square(self.held_out).sum())

    @property
    def text(self) -> str:
        """Its sizes."""
        samples = f"{len(self.train):,} samples, {len(self.held_out):,} held out"
        return f"m = {self.train.shape[1]}, n = {self.n}, k = {self.k}, {samples}"


def patches(seed: int, train: int = 20_000, held_out: int = 5_000) -> Problem:
    """12 x 12 patches of a grey photograph (china.jpg), each without its own mean; m = 144, n = 576, k = 8.

    Patches overlap, so that those held out share pixels with those learned from, for every method alike.
    """
    from sklearn.datasets import load_sample_image
    from sklearn.feature_extraction.image import extract_patches_2d

    grey = load_sample_image("china.jpg").mean(axis=2) / 255
    drawn = derived_seed(seed, "patches") % 2**32
    found = extract_patches_2d(grey, (12, 12), max_patches=train + held_out, random_state=drawn)
    flat = found.reshape(len(found), -1)
    return _problem("patches", 576, 8, flat - flat.mean(axis=1, keepdims=True), train)


def digits(seed: int) -> Problem:
    """The 1,797 digits of 8 x 8 pixels in random order, three quarters to learn from; m = 64, n = 256, k = 6."""
    from sklearn.datasets import load_digits

    found: Any = load_digits(return_X_y=True)[0]
    return _problem("digits", 256, 6, generator(seed, "digits").permutation(found), 3 * len(found) // 4)


def _problem(name: str, n: int, k: int, samples: Any, train: int) -> Problem:
    samples = samples - samples[:train].mean(axis=0)
    side = round(samples.shape[1] ** 0.5)
    return Problem(name, n, k, side, samples[:train].copy(), samples[train:].copy())


PROBLEMS = {"patches": patches, "digits": digits}
