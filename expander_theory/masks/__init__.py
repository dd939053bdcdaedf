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
    partial_euler_square_mask,
    projective_plane_mask,
)
from expander_theory.masks.families import MASK_FAMILIES, MaskFamily, build_mask, mask_family
from expander_theory.masks.fields import is_prime_power
from expander_theory.masks.growth import least_overlap_mask, overlap_limited_mask, progressive_edge_growth_mask
from expander_theory.masks.io import KIND, load_mask, mask_from, save_mask
from expander_theory.masks.mask import Mask
from expander_theory.masks.random import LIMIT, require_sizes, uniform_mask
from expander_theory.masks.sizes import Sizes
from expander_theory.masks.subsets import uniform_subsets

__all__ = [
    "KIND",
    "LIMIT",
    "MASK_FAMILIES",
    "Mask",
    "MaskFamily",
    "Sizes",
    "affine_plane_mask",
    "biregular_mask",
    "build_mask",
    "clustered_mask",
    "complete_design_mask",
    "complete_graph_mask",
    "contiguous_mask",
    "disjoint_union",
    "euler_square_mask",
    "generalised_quadrangle_mask",
    "is_prime_power",
    "least_overlap_mask",
    "load_mask",
    "mask_family",
    "mask_from",
    "overlap_limited_mask",
    "partial_euler_square_mask",
    "polynomial_mask",
    "progressive_edge_growth_mask",
    "projective_plane_mask",
    "repeated_mask",
    "require_sizes",
    "save_mask",
    "uniform_mask",
    "uniform_subsets",
]
