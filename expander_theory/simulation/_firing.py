"""Supports that follow given firing statistics: independent activations, given how many are on."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from expander_theory._kernels.sampling.planted import conditional_bernoulli
from expander_theory.base import InvalidFile, Seed, generator, require, require_int
from expander_theory.results import Share, content_hash, read_json, read_npy, read_tensors

_SUFFIXES = (".npy", ".safetensors", ".json")


def load_firing_rates(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """One firing rate per column, the share of tokens on which it is on: float64 (n,), each in [0, 1].

    Args:
        path: a ``.npy`` file of shape (n,), a ``.safetensors`` file with one such array, or a ``.json`` list.

    Raises:
        InvalidFile: missing, of another kind, or not one-dimensional numbers in [0, 1].
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise InvalidFile(path, f"firing rates are read from {', '.join(_SUFFIXES)} files")
    rates = _read(path)
    if rates.ndim != 1 or rates.size == 0 or rates.dtype.kind not in "fiu":
        raise InvalidFile(path, f"holds {rates.dtype} of shape {rates.shape}, not one firing rate per column")
    rates = rates.astype(np.float64)
    allowed = (rates >= 0) & (rates <= 1)
    if not allowed.all():
        column = int(np.argmin(allowed))
        raise InvalidFile(path, f"column {column} has firing rate {rates[column]}, which is outside [0, 1]")
    rates.flags.writeable = False  # they are handed out again and again
    return rates


def _read(path: Path) -> NDArray[Any]:
    if path.suffix == ".json":
        return np.asarray(read_json(path, list[Share]), np.float64)
    if path.suffix == ".npy":
        return read_npy(path)
    arrays = read_tensors(path)
    if len(arrays) != 1:
        raise InvalidFile(path, f"holds no array of firing rates (its arrays are {sorted(arrays)}: one was expected)")
    return next(iter(arrays.values()))


def firing_hash(rates: NDArray[np.float64]) -> str:
    """Content hash (hex) of firing rates."""
    return content_hash({}, {"firing rates": rates})


@lru_cache(maxsize=4)
def checked_firing_rates(path: str, sha256: str) -> NDArray[np.float64]:
    """The rates of a file whose content hash is known.

    Raises:
        InvalidFile: as :func:`load_firing_rates`, or the content is another one.
    """
    rates = load_firing_rates(path)
    found = firing_hash(rates)
    if found != sha256:
        raise InvalidFile(path, f"has changed: its rates have SHA-256 {found[:12]}..., expected {sha256[:12]}...")
    return rates


def require_firing(rates: NDArray[np.float64], n: int, k: int) -> None:
    """Raise :class:`InvalidArgument` unless supports of k of n columns can have these firing rates."""
    require(rates.size == n, "firing", f"{rates.size} rates", f"must be one firing rate for each of n = {n} columns")
    least, most = int((rates == 1).sum()), int((rates > 0).sum())
    require(k <= most, "k", k, f"must be at most {most}, the number of columns that ever fire")
    require(k >= least, "k", k, f"must be at least {least}, the number of columns that always fire")


def firing_supports(rates: ArrayLike, k: int, batch: int, *, seed: Seed) -> NDArray[np.int32]:
    """Supports of k columns with given firing rates p: P(S) proportional to prod_{j in S} p_j / (1 - p_j).

    The conditional Bernoulli law: every column fires independently with its rate, given that exactly k do; the law of
    greatest entropy among those with the same marginals. Rates 1 and 0 mean always and never. The marginals equal the
    rates where these are 0 or 1, and are near them where sum p = k; k far from sum p raises or lowers all odds by one
    factor. Firing that is correlated between columns is not modelled. Exact, by rejection from independent firing
    with odds scaled so that k fire on average. Source: Chen, Dempster and Liu 1994.

    Args:
        rates: (n,) in [0, 1].
        k: from the number of rates equal to 1, to the number of rates above 0.
        batch: supports drawn.

    Returns:
        int32 (batch, k), increasing in each row.

    Raises:
        InvalidArgument: rates outside [0, 1], k out of range, or batch below 0.
    """
    p = np.asarray(rates, np.float64)
    k, batch = require_int("k", k), require_int("batch", batch)
    require(p.ndim == 1 and p.size > 0, "rates", f"array of shape {p.shape}", "must have shape (n,)")
    require(bool(((p >= 0) & (p <= 1)).all()), "rates", f"{p.min()}..{p.max()}", "must lie in [0, 1]")
    require(k >= 1, "k", k, "must be at least 1")
    require(batch >= 0, "batch", batch, "must be at least 0")
    require_firing(p, p.size, k)
    return draw_supports(*scaled_to(p, k), k, batch, generator(seed, "firing supports"))


def scaled_to(rates: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Firing probabilities whose odds are a multiple of the rates' odds and whose sum is k, decreasing; their columns.

    One factor on all odds leaves the law of the supports of a given size as it is.
    """
    certain, possible = int((rates == 1).sum()), int((rates > 0).sum())
    order = np.argsort(-rates, kind="stable").astype(np.int32)
    if k in (certain, possible):  # no finite factor gives such a sum
        return np.where(np.arange(rates.size) < k, 1.0, 0.0), order
    with np.errstate(divide="ignore"):
        log_odds = logit(rates[order])
    widest = 1500.0  # log odds of doubles are within 750
    shift: Any = brentq(lambda t: expit(log_odds + t).sum() - k, -widest, widest, xtol=1e-12)
    return expit(log_odds + shift), order


def draw_supports(
    probabilities: NDArray[np.float64], order: NDArray[np.int32], k: int, batch: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Supports from what :func:`scaled_to` returned, increasing in each row."""
    out = np.empty((batch, k), np.int32)
    conditional_bernoulli(rng, probabilities, order, out)
    out.sort(axis=1)
    return out
