"""Codes of a trained decoder by any method: the SAE's encoder, pursuits, fits on a support."""

from sae_bridge.codes.coder import DEFAULT_METHODS, METHODS, Autoencoder, Coder, decoder_of

__all__ = ["DEFAULT_METHODS", "METHODS", "Autoencoder", "Coder", "decoder_of"]
