"""What the solvers are timed on: sizes, and a dictionary with signals for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import generator
from expander_theory.dictionaries import Dictionary, Floats, sign_dictionary
from expander_theory.masks import Mask, uniform_mask


@dataclass(frozen=True)
class Size:
    """Shape of a problem, the ratio to the best peer that is aimed at, and what each solver gets.

    Attributes:
        signals: by solver, the signals in a call. Fixed, so that ratios do not depend on how busy the machine is: a
            slow solver gets few; one that sets something up in every call gets enough to do so and to make up for it.
        once: solvers that are timed in the pass that measures memory alone, since a call takes many seconds.
    """

    name: str
    m: int
    n: int
    d: int
    k: int
    goal: float
    signals: dict[str, int]
    once: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """The size in one cell of a table."""
        return f"{self.name} ({self.m}, {self.n}, d {self.d}, k {self.k})"


_SOLVERS = ("ours", "spams", "naive", "mp", "mp_gram", "sparse", "structured")


def _size(name: str, m: int, n: int, d: int, k: int, goal: float, *signals: int, once: tuple[str, ...] = ()) -> Size:
    return Size(name, m, n, d, k, goal, dict(zip(_SOLVERS, signals, strict=True)), frozenset(once))


SIZES = {
    size.name: size
    for size in (  # m, n, d, k, goal; then signals: ours, spams, naive, mp, mp_gram, sparse, structured
        _size("A", 256, 1024, 7, 8, 10, 32768, 8192, 4096, 512, 256, 128, 256),
        _size("B", 512, 4096, 7, 16, 20, 8192, 2048, 512, 32, 8, 48, 64),
        _size("C", 576, 4608, 8, 32, 12, 4096, 2048, 256, 16, 8, 16, 32),
        _size("D", 2048, 16384, 7, 32, 60, 2048, 256, 128, 2, 1, 8, 8, once=("spams", "naive", "mp_gram")),
        _size("E", 2048, 65536, 7, 32, 60, 1024, 2, 128, 1, 1, 6, 4, once=("spams", "naive", "mp", "mp_gram")),
        _size("d7", 512, 4096, 7, 64, 1, 2048, 1024, 128, 12, 8, 12, 16),
        _size("d30", 512, 4096, 30, 64, 1, 1024, 1024, 128, 12, 8, 8, 6),
        _size("d100", 512, 4096, 100, 64, 2, 1024, 1024, 128, 12, 8, 4, 2),
        _size("d200", 512, 4096, 200, 64, 2, 1024, 1024, 128, 12, 8, 2, 1),
    )
}
BACKEND_SHARES = {"tile": 4, "push": 4, "gram": 4, "plain": 16}
"""Each backend of ours gets the signals of ours divided by this."""


@dataclass(frozen=True)
class Problem:
    """One dictionary and a batch of signals in one dtype, in the layouts that solvers take."""

    size: Size
    dictionary: Dictionary
    signals: Floats

    @property
    def k(self) -> int:
        """Sparsity."""
        return self.size.k

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of dictionary and signals."""
        return self.dictionary.dtype

    def fresh_dictionary(self) -> Dictionary:
        """A copy that has cached nothing."""
        return Dictionary(Mask(self.size.m, self.dictionary.mask.rows), self.dictionary.values)

    def dense(self, order: Literal["C", "F"]) -> Floats:
        """W as a new (m, n) array in this order."""
        out = np.zeros((self.size.m, self.size.n), self.dtype, order=order)
        out[self.dictionary.mask.rows, np.arange(self.size.n)[:, None]] = self.dictionary.values
        return out


def make_problem(size: Size, batch: int, dtype: np.dtype[Any], seed: int) -> Problem:
    """A uniform mask with values +-1/sqrt(d), and ``batch`` noiseless signals of k-sparse Gaussian codes.

    Signals are formed in float64 and then rounded, so that both dtypes see the same problem.
    """
    dictionary = sign_dictionary(uniform_mask(size.m, size.n, size.d, seed=seed), seed=seed)
    rng = generator(seed, "benchmark codes")
    supports = distinct(rng, size.n, (batch, size.k))
    codes = rng.standard_normal((batch, size.k))
    signals = np.zeros((batch, size.m))
    each = np.arange(batch)[:, None]
    for t in range(size.k):  # the rows of one column are distinct: no index is met twice
        atoms = supports[:, t]
        signals[each, dictionary.mask.rows[atoms]] += codes[:, t, None] * dictionary.values[atoms]
    return Problem(size, dictionary.astype(dtype), signals.astype(dtype))


def distinct(rng: np.random.Generator, n: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Rows of uniform k-tuples of distinct numbers below n, by rejection."""
    out = rng.integers(0, n, shape)
    while True:
        again = (np.diff(np.sort(out, axis=1), axis=1) == 0).any(axis=1)
        if not again.any():
            return out
        out[again] = rng.integers(0, n, (int(again.sum()), shape[1]))
