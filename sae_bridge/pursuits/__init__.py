"""Orthogonal matching pursuit of batches of signals in torch, and dictionaries as tensors."""

from sae_bridge.pursuits.tensor_dictionary import TensorDictionary
from sae_bridge.pursuits.torch_omp import Correlation, exact_products, torch_omp

__all__ = ["Correlation", "TensorDictionary", "exact_products", "torch_omp"]
