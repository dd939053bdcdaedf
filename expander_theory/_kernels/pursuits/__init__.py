"""Loops of the other solvers."""
