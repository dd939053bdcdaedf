"""Random unit-norm dictionaries: values on a mask, the dense Gaussian reference, and both side by side."""

import math

import numpy as np

from expander_theory._kernels.sampling.planted import scale_to_unit
from expander_theory.base import Seed, generator, require, require_int
from expander_theory.dictionaries.block_dictionary import BlockDictionary
from expander_theory.dictionaries.dictionary import DenseDictionary, Dictionary, Floats
from expander_theory.dictionaries.kinds import AnyDictionary
from expander_theory.masks import Mask


def sign_dictionary(mask: Mask, *, seed: Seed) -> Dictionary:
    """Independent fair signs times 1/sqrt(d): every column flat (C_j = 1, THEORY.md section 0)."""
    return Dictionary(mask, sign_values(mask.rows.shape, generator(seed, "signs")))


def gaussian_dictionary(mask: Mask, *, seed: Seed) -> Dictionary:
    """Independent standard normal values, columns scaled to unit l2 norm."""
    return Dictionary(mask, generator(seed, "gaussian values").standard_normal(mask.rows.shape)).normalised()


def flat_dictionary(mask: Mask, *, flatness: float, seed: Seed) -> Dictionary:
    """Unit columns of prescribed flatness C_j = sqrt(d) ||w_j||_inf / ||w_j||_2.

    One entry (its place uniform) has modulus C / sqrt(d), the others share the rest equally;
    signs are fair. C = 1 gives :func:`sign_dictionary`'s moduli, C = sqrt(d) a single nonzero.

    Raises:
        InvalidArgument: flatness outside [1, sqrt(d)].
    """
    d = mask.d
    require(
        1 <= flatness <= math.sqrt(d) * (1 + 1e-12),
        "flatness",
        flatness,
        f"must be between 1 and sqrt(d) = {math.sqrt(d):.6g}",
    )
    return Dictionary(mask, flat_values(mask.rows.shape, flatness, generator(seed, "flat values")))


def dense_gaussian_dictionary(m: int, n: int, *, seed: Seed) -> DenseDictionary:
    """Independent standard normal entries, columns scaled to unit l2 norm.

    Raises:
        InvalidArgument: m or n below 1.
    """
    m, n = require_int("m", m), require_int("n", n)
    require(m >= 1, "m", m, "must be at least 1")
    require(n >= 1, "n", n, "must be at least 1")
    return DenseDictionary(generator(seed, "dense").standard_normal((n, m))).normalised()


def block_gaussian_dictionary(mask: Mask, r: int, *, seed: Seed) -> AnyDictionary:
    """Independent standard normal values, in all m rows of the first r columns and on the mask in the others, columns
    scaled to unit l2 norm.

    Args:
        mask: supports of n columns; those of the first r are not used.
        r: dense columns, 0..n; r = 0 is :func:`gaussian_dictionary`, r = n :func:`dense_gaussian_dictionary`.
        seed: of the values.

    Raises:
        InvalidArgument: r out of range.
    """
    r = require_int("r", r)
    require(0 <= r <= mask.n, "r", r, f"must be between 0 and n = {mask.n}")
    if r == 0:
        return gaussian_dictionary(mask, seed=seed)
    dense = dense_gaussian_dictionary(mask.m, r, seed=seed)
    if r == mask.n:
        return dense
    rest = Mask(mask.m, mask.rows[r:], f"{mask.recipe}, without its first {r} columns" if mask.recipe else "")
    return BlockDictionary(dense, gaussian_dictionary(rest, seed=seed))


def sign_values(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Values of :func:`sign_dictionary`, (n, d), from a generator."""
    return _signed(1 / math.sqrt(shape[1]), shape, rng)


def gaussian_values(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Values of :func:`gaussian_dictionary`, (n, d), up to rounding, from a generator."""
    values = rng.standard_normal(shape)
    scale_to_unit(values)
    return values


def flat_values(shape: tuple[int, int], flatness: float, rng: np.random.Generator) -> Floats:
    """Values of :func:`flat_dictionary`, (n, d), from a generator; the flatness is not checked."""
    n, d = shape
    peak = min(flatness / math.sqrt(d), 1.0)
    rest = math.sqrt(max(0.0, 1 - peak**2) / (d - 1)) if d > 1 else 0.0
    moduli = np.full(shape, rest)
    moduli[np.arange(n), rng.integers(0, d, n)] = peak
    return _signed(moduli, shape, rng)


def _signed(moduli: float | Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Moduli times 2 rng.integers(0, 2, shape) - 1, in less time: such an integer is the highest bit of a word."""
    words = rng.integers(0, 2**32, shape, dtype=np.uint32)
    return np.copysign(moduli, ~words.view(np.int32))  # below 0, and after ~ above, where the bit is set
