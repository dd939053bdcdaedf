"""Experiments of theory and simulation."""
