"""Codes of a trained decoder by any method: the SAE's encoder, pursuits, fits on a support."""

from sae_bridge.codes.coder import DEFAULT_METHODS, METHODS, Autoencoder, Coder, decoder_of
from sae_bridge.codes.differentiable import differentiable_codes

__all__ = ["DEFAULT_METHODS", "METHODS", "Autoencoder", "Coder", "decoder_of", "differentiable_codes"]
