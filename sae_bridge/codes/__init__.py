"""Codes of a trained decoder by any method: torch OMP, fits on a support, pursuit of the encoder's choice."""

from sae_bridge.codes.coder import DEFAULT_METHODS, METHODS, Autoencoder, Coder, decoder_of
from sae_bridge.codes.tensor_dictionary import TensorDictionary
from sae_bridge.codes.torch_omp import Correlation, exact_products, torch_omp

__all__ = [
    "DEFAULT_METHODS",
    "METHODS",
    "Autoencoder",
    "Coder",
    "Correlation",
    "TensorDictionary",
    "decoder_of",
    "exact_products",
    "torch_omp",
]
