"""Synthetic k-sparse codes and noise: which atoms, which coefficients, what is added to the signal."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import Seed, generator, require, require_choice, require_int, require_real
from expander_theory.dictionaries import Floats
from expander_theory.masks import uniform_subsets
from expander_theory.simulation import _firing as firing

Coefficients = Literal["gaussian", "signs", "uniform"]
COEFFICIENTS: tuple[str, ...] = get_args(Coefficients)
LAWS = (*COEFFICIENTS, "decaying", "range")
NOISES = ("none", "relative", "absolute")

_STEEPEST = 700.0  # e^-700 is a normal double
_LARGEST = 1e30  # sums of such numbers fit float32


@dataclass(frozen=True)
class CodeLaw:
    """The law of planted k-sparse codes: a support, then independent signs and magnitudes on it.

    Attributes:
        law: of the coefficients on the support.
            "gaussian": standard normal.
            "signs": +1 or -1, fair.
            "uniform": in [1, 2), nonnegative as the codes of an SAE.
            "decaying": magnitudes e^{-decay i}, i = 0..k-1, in random order, fair signs; dynamic range e^{decay (k-1)}.
            "range": log-uniform magnitudes in [1, range], fair signs.
        decay: rate of "decaying", above 0; 0 for other laws.
        range: largest magnitude of "range", 1..1e30; 0 for other laws.
        firing: empty for uniform supports, or a file of firing rates, one per column
            (:func:`expander_theory.simulation._firing.load_firing_rates`), that supports follow
            (:func:`expander_theory.simulation._firing.firing_supports`). The place is no part of equality.
        firing_sha256: content hash of these rates, which is their identity: read from the file where it is not given,
            checked whenever the file is read. It can be given without a file, but then no code can be drawn.

    Raises:
        InvalidArgument: an unknown law, or a parameter that does not go with it.
        InvalidFile: firing rates that cannot be read.
    """

    law: str = "gaussian"
    decay: float = 0.0
    range: float = 0.0
    firing: str = field(default="", compare=False)
    firing_sha256: str = ""

    def __post_init__(self) -> None:
        require_choice("law", self.law, LAWS)
        for name in ("decay", "range"):
            object.__setattr__(self, name, require_real(name, getattr(self, name)))
        object.__setattr__(self, "firing", os.fspath(self.firing))
        if self.law == "decaying":
            allowed = f"must be above 0, and at most {_STEEPEST:g}, for decaying codes"
            require(0 < self.decay <= _STEEPEST, "decay", self.decay, allowed)
        else:
            require(self.decay == 0, "decay", self.decay, f"must be 0 (not given) for {self.law} codes")
        if self.law == "range":
            allowed = f"must be between 1 and {_LARGEST:g} for codes of given range"
            require(1 <= self.range <= _LARGEST, "range", self.range, allowed)
        else:
            require(self.range == 0, "range", self.range, f"must be 0 (not given) for {self.law} codes")
        if self.firing and not self.firing_sha256:
            rates = firing.load_firing_rates(self.firing)
            object.__setattr__(self, "firing_sha256", firing.firing_hash(rates))

    @property
    def label(self) -> str:
        """The law in a few words."""
        parameter = {"decaying": f" {self.decay:g}", "range": f" {self.range:g}"}.get(self.law, "")
        return self.law + parameter + (f", firing {self.firing_sha256[:8]}" if self.firing_sha256 else "")

    def require_fits(self, n: int, k: int) -> None:
        """Raise :class:`InvalidArgument` where the law has no codes of length n with k nonzeros.

        Firing rates are looked at where their file is given; :func:`planted_codes` needs it.
        """
        allowed = f"decay (k - 1) must be at most {_STEEPEST:g} for k = {k}, or the least coefficient vanishes"
        require(self.decay * (k - 1) <= _STEEPEST, "decay", self.decay, allowed)
        if self.firing:
            firing.require_firing(self.rates(), n, k)

    def rates(self) -> NDArray[np.float64]:
        """The firing rates of the file (which this process reads once).

        Raises:
            InvalidArgument: no file is given.
            InvalidFile: the file is missing, or its rates are not those that were given at first.
        """
        allowed = f"must name the file of the rates with SHA-256 {self.firing_sha256[:12]}..."
        require(bool(self.firing), "firing", "not given", allowed)
        return firing.checked_firing_rates(self.firing, self.firing_sha256)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on the signal h, independent between entries.

    Attributes:
        kind: "none"; "relative": N(0, sigma^2 ||h||_2^2 / m) per entry, so that ||noise|| is about sigma ||h||;
            "absolute": N(0, sigma^2) per entry.
        sigma: above 0 (at most 1e30), 0 for "none".

    Raises:
        InvalidArgument: an unknown kind, or a sigma that does not go with it.
    """

    kind: str = "none"
    sigma: float = 0.0

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, NOISES)
        object.__setattr__(self, "sigma", require_real("sigma", self.sigma))
        if self.kind == "none":
            require(self.sigma == 0, "sigma", self.sigma, "must be 0 (not given) without noise")
        else:
            allowed = f"must be above 0, and at most {_LARGEST:g}, for {self.kind} noise"
            require(0 < self.sigma <= _LARGEST, "sigma", self.sigma, allowed)

    @property
    def label(self) -> str:
        """Kind and level in a few words."""
        return self.kind if self.kind == "none" else f"{self.kind} {self.sigma:g}"

    def add(self, signals: NDArray[np.float64], *, seed: Seed) -> NDArray[np.float64]:
        """Signals (batch, m) with noise; the same array where there is none."""
        if self.kind == "none":
            return signals
        noise = generator(seed, "noise").standard_normal(signals.shape)
        if self.kind == "absolute":
            return signals + self.sigma * noise
        norms = np.linalg.norm(signals, axis=1, keepdims=True)
        return signals + self.sigma * norms / math.sqrt(signals.shape[1]) * noise


@dataclass(frozen=True, eq=False)
class PlantedCodes:
    """A batch of codes, each given on its support.

    Attributes:
        supports: int32 (batch, k), increasing in each row.
        values: float64 (batch, k), nonzero.
    """

    supports: NDArray[np.int32]
    values: NDArray[np.float64]

    def __getitem__(self, part: slice) -> PlantedCodes:
        return PlantedCodes(self.supports[part], self.values[part])


def planted_codes(codes: CodeLaw, n: int, k: int, batch: int, *, seed: Seed) -> PlantedCodes:
    """Independent codes of length n with k nonzeros, of the given law.

    O(k^2) a code for uniform supports; for firing rates, O(k sqrt(k)) on average after O(n log n) for all codes.

    Raises:
        InvalidArgument: k outside 1..n, batch below 0, or a k that the law does not have.
        InvalidFile: firing rates that cannot be read, or have changed.
    """
    n, k, batch = require_int("n", n), require_int("k", k), require_int("batch", batch)
    require(1 <= k <= n, "k", k, f"must be between 1 and n = {n}")
    require(batch >= 0, "batch", batch, "must be at least 0")
    codes.require_fits(n, k)
    rng = generator(seed, "planted codes")
    if codes.firing_sha256:
        supports = firing.draw_supports(*_firing(codes, n, k), k, batch, rng)
    else:
        supports = uniform_subsets(rng, n, batch, k)
    return PlantedCodes(supports, _coefficients(codes, (batch, k), rng))


@lru_cache(maxsize=16)
def _firing(codes: CodeLaw, n: int, k: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    rates = codes.rates()
    firing.require_firing(rates, n, k)
    return firing.scaled_to(rates, k)


def _coefficients(codes: CodeLaw, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    if codes.law == "gaussian":
        return rng.standard_normal(shape)
    if codes.law == "uniform":
        return 1.0 + rng.random(shape)
    signs = 2 * rng.integers(0, 2, shape).astype(np.float64) - 1
    if codes.law == "signs":
        return signs
    if codes.law == "range":
        return signs * np.exp(math.log(codes.range) * rng.random(shape))
    decaying = np.broadcast_to(np.exp(-codes.decay * np.arange(shape[1])), shape)
    return signs * rng.permuted(decaying, axis=1)


def sparse_code(n: int, k: int, *, coefficients: Coefficients = "gaussian", seed: Seed) -> Floats:
    """A code of length n with a uniform k-subset as support, float64.

    Args:
        coefficients: "gaussian" (standard normal), "signs" (+1 or -1, fair), or "uniform"
            (in [1, 2), nonnegative: the codes of an SAE). More laws, in batches: :func:`planted_codes`.

    Raises:
        InvalidArgument: k outside 1..n, or an unknown law.
    """
    n, k = require_int("n", n), require_int("k", k)
    require(1 <= k <= n, "k", k, f"must be between 1 and n = {n}")
    require_choice("coefficients", coefficients, COEFFICIENTS)
    rng = generator(seed, "sparse code")
    support = rng.choice(n, size=k, replace=False)
    code = np.zeros(n)
    code[support] = _coefficients(CodeLaw(coefficients), (1, k), rng)[0]
    return code
