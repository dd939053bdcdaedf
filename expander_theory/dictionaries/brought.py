"""Dictionaries that a user's function draws."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from expander_theory.base import ExpanderTheoryError, Plugin, PluginFailed
from expander_theory.dictionaries.block_dictionary import BlockDictionary
from expander_theory.dictionaries.dictionary import DenseDictionary, Dictionary
from expander_theory.dictionaries.kinds import AnyDictionary
from expander_theory.dictionaries.matrices import as_dictionary


class DictionaryLaw(Protocol):
    """An ensemble of dictionaries: one function that draws W in R^{m x n}."""

    def __call__(self, m: int, n: int, d: int, rng: np.random.Generator, /) -> AnyDictionary | ArrayLike | Any:
        """One dictionary: a real (m, n) NumPy array, a scipy.sparse matrix (solved as a masked dictionary where its
        columns are at most half full), or a dictionary of this project. Columns are scaled to unit norm.

        Args:
            m: rows.
            n: columns.
            d: left degree asked for; m where none was.
            rng: the only source of randomness, so that trials can be repeated.
        """
        ...


def drawn_by(plugin: Plugin, m: int, n: int, d: int, rng: np.random.Generator) -> AnyDictionary:
    """What a user's function draws, with unit columns, in float32 if it is and else in float64.

    Raises:
        PluginFailed: no real (m, n) matrix, or one with a zero column, NaN or infinity.
        Exception: whatever the function raises.
    """
    returned = plugin(m, n, d, rng)
    try:
        drawn = as_dictionary(returned)
    except (ExpanderTheoryError, ValueError, TypeError) as error:
        raise PluginFailed(f"the dictionary law {plugin.label} returned no dictionary: {error}") from error
    if (drawn.m, drawn.n) != (m, n):
        raise PluginFailed(
            f"the dictionary law {plugin.label} returned a matrix of shape {(drawn.m, drawn.n)}, must be {(m, n)}"
        )
    assert isinstance(drawn, Dictionary | DenseDictionary | BlockDictionary)
    return drawn.normalised()
