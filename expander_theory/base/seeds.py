"""Explicit randomness: every random function takes a seed, never global state."""

import hashlib

import numpy as np

from expander_theory.base.errors import require

Seed = int | np.random.Generator


def require_seed(seed: object) -> None:
    """Raise :class:`InvalidArgument` unless ``seed`` is a non-negative integer."""
    valid = isinstance(seed, int | np.integer) and int(seed) >= 0
    require(valid, "seed", repr(seed), "must be a non-negative integer")


def generator(seed: Seed, purpose: str) -> np.random.Generator:
    """A Philox generator from an integer seed, or the generator itself.

    Args:
        seed: non-negative integer, or a generator to draw from.
        purpose: what is drawn ("mask", "signs", ...). One seed gives independent streams for
            different purposes, so a mask and the values on it may safely share it.

    Raises:
        InvalidArgument: no non-negative integer.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    require_seed(seed)
    entropy = (int(seed), *hashlib.sha256(purpose.encode()).digest()[:16])
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def derived_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed for other libraries' generators, different for every (seed, purpose)."""
    require_seed(seed)
    return int.from_bytes(hashlib.sha256(f"{purpose} {seed}".encode()).digest()[:8], "little") >> 1


def stream(key: str, *counter: int) -> np.random.Generator:
    """The generator of one unit of work: key (hex digest) and up to three counters name it.

    Streams of different counters never overlap (each owns 2^64 Philox blocks), so results
    depend neither on the order nor on the batching of the units.
    """
    words = np.zeros(4, np.uint64)
    words[1 : 1 + len(counter)] = counter
    return np.random.Generator(np.random.Philox(key=int(key[:32], 16), counter=words))
