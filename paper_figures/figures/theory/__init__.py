"""Figures of theory and simulation."""
