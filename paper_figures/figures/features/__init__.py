"""Figures of features: known ones, and what can be said of those that are not."""
