"""Left-d-regular bipartite masks: which d of the m rows each dictionary column may use."""

from expander_theory.masks.algebraic import polynomial_mask
from expander_theory.masks.io import load_mask, save_mask
from expander_theory.masks.mask import Mask
from expander_theory.masks.random import uniform_mask

__all__ = ["Mask", "load_mask", "polynomial_mask", "save_mask", "uniform_mask"]
