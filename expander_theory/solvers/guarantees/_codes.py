"""What is proved of single codes that OMP has found."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expander_theory.dictionaries import AnyDictionary, Dictionary
from expander_theory.solvers.guarantees.erc import Columns, erc_bounds
from expander_theory.solvers.guarantees.uniqueness import (
    has_full_mask,
    largest_overlap,
    unique_sparsity,
    unique_supports,
)
from expander_theory.solvers.recovery import CodeProofs


class Guarantees:
    """A dictionary made ready to prove things of codes; what all of them need is computed once.

    Args:
        dictionary: unit columns, or columns that are divided by their norms here, as OMP does.
    """

    def __init__(self, dictionary: AnyDictionary) -> None:
        off = float(np.abs(dictionary.column_norms - 1).max())
        self.dictionary = dictionary if off <= _UNIT else dictionary.astype(np.float64).normalised()

    @cached_property
    def columns(self) -> Columns:
        """For bounds of ERC."""
        return Columns(self.dictionary)

    @cached_property
    def overlap(self) -> int | None:
        """Of a full mask the largest overlap of two columns; None of all others."""
        w = self.dictionary
        return largest_overlap(w.mask) if isinstance(w, Dictionary) and has_full_mask(w) else None

    @cached_property
    def unique_sparsity(self) -> int:
        """Codes with at most so many nonzeros are the sparsest of their signals, whatever their supports."""
        w = self.dictionary
        return unique_sparsity(w, min(w.m, w.n))

    def of(self, indices: NDArray[np.int32], steps: NDArray[np.int32], exact: NDArray[np.bool_]) -> CodeProofs:
        """What is proved of codes, as a recovery holds them; ``exact`` are those that leave nothing but rounding."""
        batch = len(steps)
        low, high, unique = np.zeros(batch), np.zeros(batch), np.zeros(batch, np.bool_)
        for k in np.unique(steps[steps > 0]):
            group = np.nonzero(steps == k)[0]
            supports = indices[group, :k].astype(np.int64)
            bounds = erc_bounds(self.columns, supports)
            low[group], high[group] = bounds.low, bounds.high
            unique[group] = k <= self.unique_sparsity
            if self.overlap is not None and isinstance(self.dictionary, Dictionary):
                unique[group] |= unique_supports(self.dictionary.mask, supports, self.overlap)
        return CodeProofs(high < 1, exact & (unique | (steps == 0)), low, high)


_UNIT = 1e-6
