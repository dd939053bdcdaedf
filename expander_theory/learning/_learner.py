"""Online learning of a dictionary of sparse columns, and of a few dense ones, from batches of signals.

Each batch of B signals is coded by OMP, then every column takes a block-coordinate step (:mod:`columns`), O(B k d) in
all, with the past counted by a curvature that forgets. About every 32 uses of an atom, columns exchange rows
(:mod:`supports`) and atoms that nothing has used for as long are replaced by what is represented worst.

What was tried on 12 x 12 patches of a photograph (m = 144, n = 576, d = 8, k = 8, ten passes over 20,000 samples; FVU
held out) and decided the rest: supports fixed, each on the largest entries of a sample, .439; rows grown at zero where
the gradient is largest, as RigL has it, .419; exchanges by least squares, as here, .385 to .387, at most d / 4 of a
column in one move, and .390 with no such limit. The whole matrices of Mairal et al. 2010, n^2 numbers, in place of
their diagonal are no better (.440, fixed supports), nor are coefficients that are refitted after every column, as in
K-SVD (.442). A past that is never forgotten: .392. Moves that many fewer uses decide fit noise: .473 after every batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.learning import columns, supports
from expander_theory.dictionaries import BlockDictionary, DenseDictionary, Dictionary, Floats
from expander_theory.learning._start import first_columns, largest_rows, unit_columns
from expander_theory.masks import Mask
from expander_theory.solvers import omp

USES = 32
"""Uses of an atom, on average, after which supports move; the past counts for as many; an atom without any is dead."""
LARGEST_WINDOW = 8192
"""Signals whose residuals are kept for the next move, at most: m numbers each."""
_SHARE = 0.25
"""Of the rows of a column that one move may exchange."""
_LEAST_USES = 4
"""A column that fewer signals of the window use keeps its rows: they would be fitted to noise."""
_SETTLED = 4
"""The past counts for so many times as many uses once supports have settled."""
_SEEN = 0.25
"""Share of all signals so far that the past counts for at most: the first ones met columns that were still bad."""


@dataclass(frozen=True)
class Sizes:
    """A dictionary to be learned: m rows, r dense columns, n - r of degree d, codes of k atoms, batches of B signals.

    Attributes:
        learned: whether rows of columns move.
    """

    m: int
    n: int
    r: int
    d: int
    k: int
    batch: int
    learned: bool

    @property
    def span(self) -> int:
        """Signals in which an atom is used :data:`USES` times on average."""
        return -(-USES * self.n // self.k)

    @property
    def exchanges(self) -> int:
        """Rows that a column may exchange in one move; 0 where none can."""
        return min(max(1, round(_SHARE * self.d)), self.m - self.d) if self.learned else 0

    @property
    def window(self) -> int:
        """Signals that a move is decided by; one batch where none moves."""
        return max(self.batch, min(self.span, LARGEST_WINDOW)) if self.exchanges else self.batch


class Learner:
    """A dictionary in training. Memory: O(r m + (n - r) d + n), and m + 2 k numbers for each signal of the window.

    Args:
        sizes: of all that is learned.
        samples: (any number, m), the first columns; missing ones are random.
        seed: of these.
        rows: int32 (n - r, d), increasing: where masked columns stand, instead of where their samples are largest.

    Attributes:
        rows: int32 (n - r, d), values: (n - r, d), of the masked columns, which are the last ones.
        dense: (r, m).
        seen: signals so far.
        settled: whether columns exchange no rows; dead ones are replaced all the same.
    """

    def __init__(self, sizes: Sizes, samples: Floats, seed: int, rows: NDArray[np.int32] | None = None) -> None:
        self.sizes, dtype = sizes, samples.dtype
        every = np.tile(np.arange(sizes.m, dtype=np.int32), (sizes.r, 1))
        self._dense_rows = every
        self.dense = (
            first_columns(samples, sizes.r, sizes.m, seed, every)[1] if sizes.r else np.empty((0, sizes.m), dtype)
        )
        self.rows, self.values = first_columns(samples[sizes.r :], sizes.n - sizes.r, sizes.d, seed, rows)
        self.seen = 0
        self._curvature = np.zeros(sizes.n)
        self._idle = np.zeros(sizes.n, np.int64)  # signals since an atom was used
        self.rest()

    @property
    def dictionary(self) -> Dictionary | BlockDictionary:
        """The dictionary as it is: unit columns, the dense ones first."""
        masked = Dictionary(Mask(self.sizes.m, self.rows, "learned" if self.sizes.learned else "given"), self.values)
        return BlockDictionary(DenseDictionary(self.dense), masked) if self.sizes.r else masked

    def rest(self) -> None:
        """Forget the window, which the next step begins anew: what is kept in memory and in pickles becomes small."""
        self.settled = not self.sizes.exchanges
        self._residual = np.empty((0, self.sizes.m), self.values.dtype)
        self._indices = np.empty((0, self.sizes.k), np.int32)
        self._coefficients = np.empty((0, self.sizes.k), self.values.dtype)
        self._filled = 0

    def step(self, h: Floats, n_jobs: int = 1) -> float:
        """Learn from one batch (1 .. B, m), in the dtype of the columns.

        Returns:
            the sum of the squared residuals that the dictionary left before it learned.
        """
        found = omp(self.dictionary, h, self.sizes.k, n_jobs=n_jobs)
        if not len(self._residual):
            places = self.sizes.window + self.sizes.batch
            stored = (self._residual, self._indices, self._coefficients)
            self._residual, self._indices, self._coefficients = (
                np.empty((places, x.shape[1]), x.dtype) for x in stored
            )
        window = slice(self._filled, self._filled + len(h))
        residual = self._residual[window]
        residual[:] = h
        self._indices[window], self._coefficients[window] = found.indices, found.coefficients
        entries = columns.by_atom(self._indices[window], self._coefficients[window], self.sizes.n)
        parts = [(self._dense_rows, self.dense, 0), (self.rows, self.values, self.sizes.r)]
        parts = parts if self.sizes.r else parts[1:]
        for part in parts:
            columns.subtract(*part, entries, residual)
        for part in parts:
            columns.update(*part, entries, residual, self._curvature, self._kept(len(h)))
        self.seen += len(h)
        self._idle += len(h)
        self._idle[np.diff(entries.starts) > 0] = 0
        self._filled += len(h)
        if self._filled >= self.sizes.window:
            self._move()
            self._filled = 0
        return float(np.square(found.residual_norms, dtype=np.float64).sum())

    def _kept(self, batch: int) -> float:
        """What the curvature of earlier batches counts for: forgotten at the rate at which new signals come."""
        span = self.sizes.span * (_SETTLED if self.settled and self.sizes.exchanges else 1)
        return 1 - batch / max(batch, min(span, _SEEN * (self.seen + batch)))

    def _move(self) -> None:
        """Exchange rows, by the signals of the window, and replace dead atoms."""
        residual = self._residual[: self._filled]
        if not self.settled:
            used = self._indices[: self._filled], self._coefficients[: self._filled]
            entries = columns.by_atom(*used, self.sizes.n)
            most = self.sizes.exchanges
            supports.exchange(self.rows, self.values, self.sizes.r, entries, residual, most, _LEAST_USES)
        dead = np.nonzero(self._idle >= self.sizes.span)[0]
        if dead.size:
            self._replace(dead, residual)

    def _replace(self, dead: NDArray[np.intp], residual: Floats) -> None:
        """Dead atoms become the largest residuals, one each, as far as there are any; the others wait as long again."""
        energies = np.square(residual, dtype=np.float64).sum(axis=1)
        worst = np.argsort(-energies, kind="stable")[: dead.size]
        worst = worst[energies[worst] > 0]
        self._idle[dead] = 0
        for atom, sample in zip(dead, residual[worst][:, None], strict=False):
            r = self.sizes.r
            rows, values, j = (self._dense_rows, self.dense, atom) if atom < r else (self.rows, self.values, atom - r)
            at = largest_rows(sample, self.sizes.d) if self.sizes.exchanges and atom >= r else rows[j : j + 1]
            taken, sound = unit_columns(sample, at)
            if sound[0]:
                rows[j], values[j], self._curvature[atom] = at[0], taken[0], 0
