"""Synthetic k-sparse codes and noise: which atoms, which coefficients, what is added to the signal."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import Plugin, Seed, generator, require, require_choice, require_int, require_real
from expander_theory.dictionaries import Floats
from expander_theory.masks import uniform_subsets
from expander_theory.simulation import _firing as firing, _stored_codes as stored
from expander_theory.simulation.brought import codes_by, noise_by

Coefficients = Literal["gaussian", "signs", "uniform"]
COEFFICIENTS: tuple[str, ...] = get_args(Coefficients)
LAWS = (*COEFFICIENTS, "decaying", "range", "file", "user")
NOISES = ("none", "relative", "absolute", "user")

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
            "file": codes that occur: those of ``file`` with at least k nonzeros, each as likely, cut to their k of
            largest modulus; supports and coefficients come together.
            "user": what a function of the user draws, supports and coefficients.
        decay: rate of "decaying", above 0; 0 for other laws.
        range: largest magnitude of "range", 1..1e30; 0 for other laws.
        firing: empty for uniform supports, or a file of firing rates, one per column
            (:func:`expander_theory.simulation._firing.load_firing_rates`), that supports follow
            (:func:`expander_theory.simulation._firing.firing_supports`). The place is no part of equality.
        firing_sha256: content hash of these rates, which is their identity: read from the file where it is not given,
            checked whenever the file is read. It can be given without a file, but then no code can be drawn.
        file: the codes of "file" (a ``.npz`` of scipy.sparse, (codes, n)); the place is no part of equality.
        file_sha256: their content hash, as ``firing_sha256``.
        plugin: the function of "user" (a :class:`expander_theory.simulation.UserCodes`), or its text
            ``package.module:function`` or ``path/to/file.py:function``.

    Raises:
        InvalidArgument: an unknown law, or a parameter that does not go with it.
        InvalidFile: firing rates, codes or a function that cannot be read.
    """

    law: str = "gaussian"
    decay: float = 0.0
    range: float = 0.0
    firing: str = field(default="", compare=False)
    firing_sha256: str = ""
    file: str = field(default="", compare=False)
    file_sha256: str = ""
    plugin: Plugin | None = None

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
        self._require_own_supports()

    def _require_own_supports(self) -> None:
        """The file of "file", the function of "user", and no firing rates beside them."""
        object.__setattr__(self, "file", os.fspath(self.file))
        if self.file and not self.file_sha256:
            object.__setattr__(self, "file_sha256", stored.codes_hash(stored.load_codes(self.file)))
        if self.plugin is not None:
            object.__setattr__(self, "plugin", Plugin.of("plugin", self.plugin))
        required = f"must be given for the law {self.law!r}" if self.law == "file" else "goes with the law 'file'"
        require(bool(self.file_sha256) == (self.law == "file"), "file", self.file or "not given", required)
        required = "must be a function for the law 'user', and None for all others"
        require((self.plugin is not None) == (self.law == "user"), "plugin", self.plugin, required)
        if self.law in ("file", "user"):
            allowed = f"must be empty: codes of the law {self.law!r} come with their supports"
            require(not self.firing_sha256, "firing", self.firing or self.firing_sha256, allowed)

    @property
    def label(self) -> str:
        """The law in a few words."""
        if self.plugin is not None:
            return self.plugin.label
        if self.law == "file":
            return f"file {self.file_sha256[:8]}"
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
        if self.file:
            stored.require_stored(stored.checked_codes(self.file, self.file_sha256), n, k)

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
    """Noise on the signal h: Gaussian and independent between entries, or a user's own.

    Attributes:
        kind: "none"; "relative": N(0, sigma^2 ||h||_2^2 / m) per entry, so that ||noise|| is about sigma ||h||;
            "absolute": N(0, sigma^2) per entry; "user": what a function of the user adds, Gaussian or not.
        sigma: above 0 (at most 1e30), 0 for "none" and "user".
        plugin: the function of "user" (a :class:`expander_theory.simulation.UserNoise`), or its text
            ``package.module:function`` or ``path/to/file.py:function``.

    Raises:
        InvalidArgument: an unknown kind, or a sigma that does not go with it.
    """

    kind: str = "none"
    sigma: float = 0.0
    plugin: Plugin | None = None

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, NOISES)
        object.__setattr__(self, "sigma", require_real("sigma", self.sigma))
        if self.plugin is not None:
            object.__setattr__(self, "plugin", Plugin.of("plugin", self.plugin))
        required = "must be a function for the kind 'user', and None for all others"
        require((self.plugin is not None) == (self.kind == "user"), "plugin", self.plugin, required)
        if self.kind in ("none", "user"):
            allowed = "must be 0 (not given) without noise" if self.kind == "none" else "must be 0 for a user's noise"
            require(self.sigma == 0, "sigma", self.sigma, allowed)
        else:
            allowed = f"must be above 0, and at most {_LARGEST:g}, for {self.kind} noise"
            require(0 < self.sigma <= _LARGEST, "sigma", self.sigma, allowed)

    @property
    def label(self) -> str:
        """Kind and level in a few words."""
        if self.plugin is not None:
            return self.plugin.label
        return self.kind if self.kind == "none" else f"{self.kind} {self.sigma:g}"

    def add(self, signals: NDArray[np.float64], *, seed: Seed) -> NDArray[np.float64]:
        """Signals (batch, m) with noise; the same array where there is none."""
        if self.kind == "none":
            return signals
        if self.plugin is not None:
            return noise_by(self.plugin, signals, generator(seed, "noise"))
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
        InvalidFile: firing rates or codes that cannot be read, or have changed.
        PluginFailed: a user's function returned no such codes.
    """
    n, k, batch = require_int("n", n), require_int("k", k), require_int("batch", batch)
    require(1 <= k <= n, "k", k, f"must be between 1 and n = {n}")
    require(batch >= 0, "batch", batch, "must be at least 0")
    codes.require_fits(n, k)
    rng = generator(seed, "planted codes")
    if codes.plugin is not None:
        return PlantedCodes(*codes_by(codes.plugin, n, k, batch, rng))
    if codes.law == "file":
        return _stored(codes, n, k, batch, rng)
    if codes.firing_sha256:
        supports = firing.draw_supports(*_firing(codes, n, k), k, batch, rng)
    else:
        supports = uniform_subsets(rng, n, batch, k)
    return PlantedCodes(supports, _coefficients(codes, (batch, k), rng))


def _stored(codes: CodeLaw, n: int, k: int, batch: int, rng: np.random.Generator) -> PlantedCodes:
    allowed = f"must name the file of the codes with SHA-256 {codes.file_sha256[:12]}..."
    require(bool(codes.file), "file", "not given", allowed)
    supports, values = stored.strongest(codes.file, codes.file_sha256, k)
    drawn = rng.integers(0, len(supports), batch)
    return PlantedCodes(supports[drawn], values[drawn])


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
