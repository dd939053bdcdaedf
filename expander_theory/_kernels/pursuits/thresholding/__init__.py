"""Loops of the solvers that threshold a whole code and fit it anew."""
