"""Dictionaries: masks with values, dense ones, both as blocks, ensembles, and their geometry and expansion."""

from expander_theory.dictionaries.block_dictionary import BlockDictionary
from expander_theory.dictionaries.brought import DictionaryLaw
from expander_theory.dictionaries.dictionary import (
    DENSE_KIND,
    KIND,
    VERSION,
    DenseDictionary,
    Dictionary,
    Floats,
    checked_signals,
    real_array,
)
from expander_theory.dictionaries.ensemble import ENSEMBLE_FAMILIES, Ensemble
from expander_theory.dictionaries.expansion import (
    ExpansionProfile,
    attack_expansion,
    expanding_size,
    expansion_profile,
    largest_losses,
    largest_overlap_sums,
    losing_set,
)
from expander_theory.dictionaries.geometry import (
    MARGIN,
    babel,
    babel_certified_k,
    coherence,
    coherence_certified_k,
    column_overlaps,
    consecutive_sums,
    flatness,
    overlap_counts,
)
from expander_theory.dictionaries.kinds import AnyDictionary, load_dictionary, without_blocks
from expander_theory.dictionaries.limits import least_possible_eps, mask_eps_lower_bound, paper_eps_count
from expander_theory.dictionaries.matrices import as_dictionary, load_matrix, load_sparse, require_sound
from expander_theory.dictionaries.measures import dictionary_measures, expansion_bounds, expansion_rows, mask_measures
from expander_theory.dictionaries.random_masks import (
    certified_sparsity,
    expansion_failure,
    expected_deficit,
    hall_failure,
    stopping_set_failure,
)
from expander_theory.dictionaries.spectral import spectral_neighbours
from expander_theory.dictionaries.values import (
    block_gaussian_dictionary,
    dense_gaussian_dictionary,
    flat_dictionary,
    gaussian_dictionary,
    sign_dictionary,
)

__all__ = [
    "DENSE_KIND",
    "ENSEMBLE_FAMILIES",
    "KIND",
    "MARGIN",
    "VERSION",
    "AnyDictionary",
    "BlockDictionary",
    "DenseDictionary",
    "Dictionary",
    "DictionaryLaw",
    "Ensemble",
    "ExpansionProfile",
    "Floats",
    "as_dictionary",
    "attack_expansion",
    "babel",
    "babel_certified_k",
    "block_gaussian_dictionary",
    "certified_sparsity",
    "checked_signals",
    "coherence",
    "coherence_certified_k",
    "column_overlaps",
    "consecutive_sums",
    "dense_gaussian_dictionary",
    "dictionary_measures",
    "expanding_size",
    "expansion_bounds",
    "expansion_failure",
    "expansion_profile",
    "expansion_rows",
    "expected_deficit",
    "flat_dictionary",
    "flatness",
    "gaussian_dictionary",
    "hall_failure",
    "largest_losses",
    "largest_overlap_sums",
    "least_possible_eps",
    "load_dictionary",
    "load_matrix",
    "load_sparse",
    "losing_set",
    "mask_eps_lower_bound",
    "mask_measures",
    "overlap_counts",
    "paper_eps_count",
    "real_array",
    "require_sound",
    "sign_dictionary",
    "spectral_neighbours",
    "stopping_set_failure",
    "without_blocks",
]
