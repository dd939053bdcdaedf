"""Orthogonal Matching Pursuit: the solver, its backends, prepared dictionaries, the estimator."""
