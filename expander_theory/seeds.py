"""Explicit randomness: every random function takes a seed, never global state."""

import numpy as np

from expander_theory.errors import require

Seed = int | np.random.Generator


def generator(seed: Seed) -> np.random.Generator:
    """A Philox generator from an integer seed, or the generator itself.

    Raises:
        InvalidArgument: a negative seed.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    require(seed >= 0, "seed", seed, "must be a non-negative integer")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def stream(key: str, *counter: int) -> np.random.Generator:
    """The generator of one unit of work: key (hex digest) and up to three counters name it.

    Streams of different counters never overlap (each owns 2^64 Philox blocks), so results
    depend neither on the order nor on the batching of the units.
    """
    words = np.zeros(4, np.uint64)
    words[1 : 1 + len(counter)] = counter
    return np.random.Generator(np.random.Philox(key=int(key[:32], 16), counter=words))
