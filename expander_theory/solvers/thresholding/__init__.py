"""Solvers that threshold a whole code: CoSaMP, NIHT, hard thresholding pursuit, subspace pursuit, AMP."""
