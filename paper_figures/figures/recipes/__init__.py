"""Figures of recipes and structures: what pays in training and in the dictionary, and what does not."""
