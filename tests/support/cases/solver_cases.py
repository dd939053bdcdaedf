"""Instances that the tests of several solvers use."""

import numpy as np

from expander_theory import dense_gaussian_dictionary, gaussian_dictionary, sparse_code, uniform_mask


def generic_dictionary(masked, m, n, d=5):
    """Gaussian values with unit columns, on a uniform mask or everywhere."""
    return (
        gaussian_dictionary(uniform_mask(m, n, d, seed=0), seed=1)
        if masked
        else dense_gaussian_dictionary(m, n, seed=1)
    )


def codes(n, k, count):
    return np.stack([sparse_code(n, k, seed=t) for t in range(count)])


def noise(count, m):
    return np.random.default_rng(0).standard_normal((count, m))


def noise_and_codes(w, k, count, noiseless):
    """Signals, the first ``noiseless`` of which are k-sparse and all others noise."""
    h = noise(count, w.m)
    h[:noiseless] = w.matvec(codes(w.n, k, noiseless))
    return h
