"""Compiled loops on prepared contiguous arrays. Internal: only the wings that prepare the arrays import them."""
