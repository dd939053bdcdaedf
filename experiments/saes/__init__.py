"""Experiments on trained SAEs."""
