"""Left-d-regular bipartite masks: which d of the m rows each dictionary column may use."""

from expander_theory.masks.algebraic import polynomial_mask
from expander_theory.masks.balanced import biregular_mask
from expander_theory.masks.controls import clustered_mask, contiguous_mask, repeated_mask
from expander_theory.masks.designs import (
    affine_plane_mask,
    complete_design_mask,
    complete_graph_mask,
    disjoint_union,
    euler_square_mask,
    generalised_quadrangle_mask,
    projective_plane_mask,
)
from expander_theory.masks.growth import least_overlap_mask, overlap_limited_mask, progressive_edge_growth_mask
from expander_theory.masks.io import load_mask, save_mask
from expander_theory.masks.mask import Mask
from expander_theory.masks.random import uniform_mask

__all__ = [
    "Mask",
    "affine_plane_mask",
    "biregular_mask",
    "clustered_mask",
    "complete_design_mask",
    "complete_graph_mask",
    "contiguous_mask",
    "disjoint_union",
    "euler_square_mask",
    "generalised_quadrangle_mask",
    "least_overlap_mask",
    "load_mask",
    "overlap_limited_mask",
    "polynomial_mask",
    "progressive_edge_growth_mask",
    "projective_plane_mask",
    "repeated_mask",
    "save_mask",
    "uniform_mask",
]
