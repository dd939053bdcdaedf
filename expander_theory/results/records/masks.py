"""Records of masks and of the dictionaries on them: their measures and how they expand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from expander_theory.results.records.base import Record
from expander_theory.results.typed import Count, Size

DICTIONARY_TITLES = {
    "decoder_values": "decoder values",
    "flatness_mean": "flatness C, mean",
    "flatness_largest": "flatness C, largest",
    "coherence": "coherence mu",
    "babel": "Babel mu_1(1..)",
    "k_coherence": "k certified by coherence (OMP-2)",
    "k_babel": "k certified by Babel (OMP-3)",
}
"""How tables of ``expander_theory.dictionaries.dictionary_measures`` name the fields that follow."""

MASK_TITLES = {
    "row_degree_least": "row degree, least",
    "row_degree_largest": "row degree, largest",
    "largest_overlap": "largest overlap",
    "pairs_by_overlap": "pairs by overlap",
}
"""How tables of ``expander_theory.dictionaries.mask_measures`` name the fields that follow."""


def renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of such a table with the names of fields."""
    fields = {title: name for name, title in (DICTIONARY_TITLES | MASK_TITLES).items()}
    return {fields.get(key, key): value for key, value in row.items()}


@dataclass(frozen=True, kw_only=True)
class DictionaryMeasures:
    """Geometry of one dictionary with unit columns.

    Attributes:
        m: rows.
        n: columns.
        d: nonzeros of a column.
        decoder_values: nonzeros in all.
        flatness_mean: mean of C_j = sqrt(d) max |w_ij|.
        flatness_largest: the largest C_j.
        coherence: largest |<w_i, w_j>| of two columns.
        babel: the cumulative coherence mu_1(1), mu_1(2), ...
        k_coherence: k that coherence certifies for OMP (THEORY.md OMP-2).
        k_babel: k that Babel sums certify for OMP (THEORY.md OMP-3).
    """

    m: Size
    n: Size
    d: Size
    decoder_values: Count
    flatness_mean: float
    flatness_largest: float
    coherence: float
    babel: tuple[float, ...]
    k_coherence: Count
    k_babel: Count

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Of a row of ``expander_theory.dictionaries.dictionary_measures``."""
        return cls(**renamed(row))


@dataclass(frozen=True, kw_only=True)
class ExpansionRow:
    """How far sets of one size expand, as a ratio |N(S)| / (d |S|).

    Attributes:
        size: columns in the set.
        lower: proved for every set.
        upper: attained by a set.
        status: whether both are the exact least ratio.
        witness: columns of a set that attains the upper one, separated by spaces.
    """

    size: Size
    lower: float
    upper: float
    status: str
    witness: str


@dataclass(frozen=True, kw_only=True)
class MaskRecord(DictionaryMeasures, Record):
    """One mask, and the dictionary of random signs on it.

    Attributes:
        name: of the mask.
        recipe: how it was made.
        sha256: its content hash.
        row_degree_least: least number of columns through a row.
        row_degree_largest: largest number of columns through a row.
        largest_overlap: most rows that two columns share.
        pairs_by_overlap: how many pairs of columns share so many rows.
        expansion: one row a size.
    """

    KIND: ClassVar[str] = "mask"
    name: str
    recipe: str
    sha256: str
    row_degree_least: Count
    row_degree_largest: Count
    largest_overlap: Count
    pairs_by_overlap: dict[str, Count]
    expansion: tuple[ExpansionRow, ...]
