"""Bootstrap intervals of means and ratios over contexts, resampling the documents that they came from."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from expander_theory.base import generator, require, require_choice, require_int

Resample = Literal["documents", "contexts"]
Interval = tuple[float, float]

LEAST_DOCUMENTS = 10
"""With fewer, their spread is not known well enough and contexts are resampled instead."""
LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2


def resampling_unit(documents: ArrayLike) -> Resample:
    """The unit that is resampled where none is named: documents, if there are :data:`LEAST_DOCUMENTS` of them."""
    return "documents" if len(np.unique(documents)) >= LEAST_DOCUMENTS else "contexts"


class Bootstrap:
    """95 % intervals of ratios of two sums over contexts; a mean is the ratio of a sum to a count.

    Contexts of one document are not independent, so whole documents are drawn. Contexts as units describe these
    documents and are too narrow for others. U - 1 of the U units are drawn with replacement, which makes the bootstrap
    variance unbiased, and the percentile interval is stretched about the estimate by Student's over the normal
    quantile at U - 1 degrees of freedom. Memory: 8 bytes a unit and resample.
    Source: Rao and Wu 1988; Davison and Hinkley 1997, section 5.3.

    Args:
        documents: number of the document of each context, shape (contexts,).
        resample: "documents", "contexts", or None for :func:`resampling_unit`.
        resamples: at least 99.
        seed: of the draws.

    Attributes:
        resample: the unit.
        units: how many there are.

    Raises:
        InvalidArgument: an unknown unit, no contexts, too few resamples, or a bad seed.
    """

    def __init__(
        self, documents: ArrayLike, resample: Resample | None = None, *, resamples: int = 2000, seed: int = 0
    ) -> None:
        of = np.asarray(documents)
        require(of.ndim == 1 and of.size > 0, "documents", f"of shape {of.shape}", "must have one entry a context")
        require(require_int("resamples", resamples) >= 99, "resamples", resamples, "must be at least 99")
        self.resample: Resample = resampling_unit(of) if resample is None else resample
        require_choice("resample", self.resample, get_args(Resample))
        if self.resample == "documents":
            numbers, self._unit = np.unique(of, return_inverse=True)
            self.units = len(numbers)
        else:
            self._unit, self.units = np.arange(of.size), of.size
        rng = generator(seed, "bootstrap of an evaluation")
        share = np.full(self.units, 1 / self.units)
        self._weights = rng.multinomial(self.units - 1, share, resamples).astype(float)
        freedom = max(1, self.units - 1)
        self._stretch = float(stdtrit(freedom, 1 - _TAIL) / ndtri(1 - _TAIL))

    def mean(self, values: ArrayLike, counts: ArrayLike) -> tuple[float, Interval | None]:
        """sum(values) / sum(counts), for counts >= 0 that are not all zero, and its interval.

        The interval is None for a single unit, or where some resample has no count at all.
        """
        tops, bottoms = self._by_unit(values), self._by_unit(counts)
        estimate = float(tops.sum() / bottoms.sum())
        drawn = self._weights @ bottoms
        if self.units == 1 or drawn.min() <= 0:
            return estimate, None
        return estimate, self._stretched(estimate, (self._weights @ tops) / drawn)

    def ratio(self, top: ArrayLike, bottom: ArrayLike) -> tuple[float | None, Interval | None]:
        """sum(top) / sum(bottom) and its interval; both None where the interval of sum(bottom) reaches zero."""
        bottoms = self._by_unit(bottom)
        total = float(bottoms.sum())
        drawn = self._weights @ bottoms * (self.units / max(1, self.units - 1))
        low = total if self.units == 1 else self._stretched(total, drawn)[0]
        return (None, None) if low <= 0 else self.mean(top, bottom)

    def _by_unit(self, values: ArrayLike) -> NDArray[np.float64]:
        array = np.asarray(values, np.float64)
        require(array.shape == self._unit.shape, "values", f"of shape {array.shape}", f"must be {self._unit.shape}")
        return np.bincount(self._unit, array, minlength=self.units).astype(np.float64)

    def _stretched(self, estimate: float, drawn: NDArray[np.float64]) -> Interval:
        low, high = estimate + self._stretch * (np.quantile(drawn, [_TAIL, 1 - _TAIL]) - estimate)
        return float(low), float(high)
