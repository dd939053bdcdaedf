"""Masks, guarantees and recovery for expander dictionaries.

The public names below are loaded on first use, so that ``import expander_theory`` is instant and
compiles nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expander_theory.dictionary import AnyDictionary, DenseDictionary, Dictionary, load_dictionary
    from expander_theory.ensembles import (
        dense_gaussian_dictionary,
        flat_dictionary,
        gaussian_dictionary,
        sign_dictionary,
    )
    from expander_theory.errors import ExpanderTheoryError, InvalidArgument, InvalidFile
    from expander_theory.expansion import expansion_profile
    from expander_theory.geometry import babel, babel_certified_k, coherence, flatness, overlap_counts
    from expander_theory.masks import (
        Mask,
        affine_plane_mask,
        biregular_mask,
        complete_design_mask,
        complete_graph_mask,
        disjoint_union,
        euler_square_mask,
        generalised_quadrangle_mask,
        load_mask,
        overlap_limited_mask,
        polynomial_mask,
        progressive_edge_growth_mask,
        projective_plane_mask,
        save_mask,
        uniform_mask,
    )
    from expander_theory.planted import planted_recovery
    from expander_theory.problems import Codes, Noise, planted_codes, sparse_code
    from expander_theory.solvers import (
        Recovery,
        RecoveryStatus,
        basis_pursuit,
        cosamp,
        gomp,
        l0_decoding,
        matching_pursuit,
        niht,
        omp,
        ssmp,
        topk,
    )
    from expander_theory.solvers.estimator import OMPEncoder
    from expander_theory.trials import Ensemble, Success, Task, run_block

__version__ = "0.1.0"

_HOMES = {
    "dictionary": ("AnyDictionary", "DenseDictionary", "Dictionary", "load_dictionary"),
    "ensembles": ("dense_gaussian_dictionary", "flat_dictionary", "gaussian_dictionary", "sign_dictionary"),
    "errors": ("ExpanderTheoryError", "InvalidArgument", "InvalidFile"),
    "expansion": ("expansion_profile",),
    "geometry": ("babel", "babel_certified_k", "coherence", "flatness", "overlap_counts"),
    "masks": (
        "Mask",
        "affine_plane_mask",
        "biregular_mask",
        "complete_design_mask",
        "complete_graph_mask",
        "disjoint_union",
        "euler_square_mask",
        "generalised_quadrangle_mask",
        "load_mask",
        "overlap_limited_mask",
        "polynomial_mask",
        "progressive_edge_growth_mask",
        "projective_plane_mask",
        "save_mask",
        "uniform_mask",
    ),
    "planted": ("planted_recovery",),
    "problems": ("Codes", "Noise", "planted_codes", "sparse_code"),
    "solvers": (
        "Recovery",
        "RecoveryStatus",
        "basis_pursuit",
        "cosamp",
        "gomp",
        "l0_decoding",
        "matching_pursuit",
        "niht",
        "omp",
        "ssmp",
        "topk",
    ),
    "solvers.estimator": ("OMPEncoder",),
    "trials": ("Ensemble", "Success", "Task", "run_block"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 (in the order of the road)
    "Mask", "uniform_mask", "biregular_mask", "progressive_edge_growth_mask", "overlap_limited_mask",
    "polynomial_mask", "euler_square_mask", "affine_plane_mask", "projective_plane_mask", "generalised_quadrangle_mask",
    "complete_graph_mask", "complete_design_mask", "disjoint_union", "save_mask", "load_mask",
    "Dictionary", "DenseDictionary", "AnyDictionary", "load_dictionary",
    "sign_dictionary", "gaussian_dictionary", "flat_dictionary", "dense_gaussian_dictionary",
    "flatness", "coherence", "babel", "babel_certified_k", "overlap_counts", "expansion_profile",
    "sparse_code", "planted_codes", "omp", "OMPEncoder", "topk", "matching_pursuit", "gomp", "cosamp", "niht", "ssmp",
    "l0_decoding", "basis_pursuit", "Recovery", "RecoveryStatus", "planted_recovery",
    "Ensemble", "Codes", "Noise", "Success", "Task", "run_block",
    "ExpanderTheoryError", "InvalidArgument", "InvalidFile",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"expander_theory.{_HOME[name]}"), name)
    raise AttributeError(f"module 'expander_theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
