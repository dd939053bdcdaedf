"""Loops over sets and pairs of columns."""
