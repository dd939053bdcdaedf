"""What users bring to a sweep besides solvers and dictionaries: laws of codes and of noise, criteria of success."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory.base import Plugin, PluginFailed


class UserCodes(Protocol):
    """A law of planted codes: one function that draws a batch of k-sparse codes of length n."""

    def __call__(self, n: int, k: int, batch: int, rng: np.random.Generator, /) -> tuple[ArrayLike, ArrayLike]:
        """Supports, integers (batch, k), different columns in each row; and their coefficients (batch, k), not 0.

        ``rng`` is the only source of randomness, so that trials can be repeated.
        """
        ...


class UserNoise(Protocol):
    """A law of noise: one function that returns noisy signals."""

    def __call__(self, signals: NDArray[np.float64], rng: np.random.Generator, /) -> ArrayLike:
        """The signals (batch, m) with noise, in the same shape; ``rng`` is the only source of randomness."""
        ...


class UserCriterion(Protocol):
    """A criterion of success: one function that compares planted codes with those that a solver found."""

    def __call__(self, planted: NDArray[np.float64], found: NDArray[np.float64], /) -> ArrayLike:
        """Whether each code counts as recovered, booleans (batch,), from codes (batch, n) each."""
        ...


def codes_by(
    plugin: Plugin, n: int, k: int, batch: int, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Supports, increasing in each row, and coefficients, by a :class:`UserCodes`.

    Raises:
        PluginFailed: wrong shapes, columns out of range or repeated, coefficients that are 0, NaN or infinite.
        Exception: whatever the function raises.
    """
    who, returned = f"the law of codes {plugin.label}", plugin(n, k, batch, rng)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise PluginFailed(f"{who} returned a {type(returned).__name__}, must be a pair (supports, coefficients)")
    supports, values = np.asarray(returned[0]), _real(who, returned[1])
    for name, array in (("supports", supports), ("coefficients", values)):
        if array.shape != (batch, k):
            raise PluginFailed(f"{who} returned {name} of shape {array.shape}, must be (batch, k) = {(batch, k)}")
    if supports.dtype.kind not in "iu" or (supports.size and not (supports.min() >= 0 and supports.max() < n)):
        raise PluginFailed(f"{who} returned supports that are not all integers in 0..{n - 1}")
    order = np.argsort(supports, axis=1, kind="stable")
    ordered, values = np.take_along_axis(supports, order, axis=1), np.take_along_axis(values, order, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise PluginFailed(f"{who} returned a support with a repeated column")
    if not np.isfinite(values).all() or not values.all():
        raise PluginFailed(f"{who} returned coefficients that are 0, NaN or infinite")
    return ordered.astype(np.int32), values


def noise_by(plugin: Plugin, signals: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Signals with the noise of a :class:`UserNoise`.

    Raises:
        PluginFailed: another shape, no real numbers, NaN or infinity.
        Exception: whatever the function raises.
    """
    who = f"the law of noise {plugin.label}"
    noisy = _real(who, plugin(signals.copy(), rng))
    if noisy.shape != signals.shape:
        raise PluginFailed(f"{who} returned signals of shape {noisy.shape}, must be (batch, m) = {signals.shape}")
    if not np.isfinite(noisy).all():
        raise PluginFailed(f"{who} returned NaN or infinity")
    return noisy


def success_by(plugin: Plugin, planted: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which codes count as recovered by a :class:`UserCriterion`, bool (batch,).

    Raises:
        PluginFailed: no booleans, or another shape.
        Exception: whatever the function raises.
    """
    who, returned = f"the criterion {plugin.label}", np.asarray(plugin(planted, found))
    if returned.dtype != bool:
        raise PluginFailed(f"{who} returned an array of {returned.dtype}, must be booleans")
    if returned.shape != (len(planted),):
        raise PluginFailed(f"{who} returned an array of shape {returned.shape}, must be (batch,) = {(len(planted),)}")
    return returned


def _real(who: str, values: Any) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise PluginFailed(f"{who} returned an array of {array.dtype}, must be real numbers")
    return array.astype(np.float64)
