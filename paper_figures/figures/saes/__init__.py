"""Figures of trained SAEs."""
