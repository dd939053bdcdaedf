"""Expander SAEs on the activations of real language models (needs the ``sae`` extra: torch, transformers)."""
