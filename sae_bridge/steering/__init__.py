"""What a language model says when a feature is added to its residual stream, or taken away."""

from sae_bridge.steering.steer import NextTokens, Place, added, next_tokens, removed, sampled

__all__ = ["NextTokens", "Place", "added", "next_tokens", "removed", "sampled"]
