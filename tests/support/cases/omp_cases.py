"""What the tests of OMP share."""

import numpy as np
import pytest

from expander_theory import DenseDictionary, Dictionary, gaussian_dictionary, sparse_code, uniform_mask
from expander_theory.solvers.omp._backends import DENSE_DESIGNS, MASKED_DESIGNS

DTYPES = [np.float64, np.float32]
W = gaussian_dictionary(uniform_mask(40, 90, 5, seed=0), seed=0)
H = np.random.default_rng(0).standard_normal((37, 40))

every_backend = pytest.mark.parametrize(
    ("masked", "backend"),
    [(True, backend) for backend in MASKED_DESIGNS] + [(False, backend) for backend in DENSE_DESIGNS],
)


def backends_of(w):
    return MASKED_DESIGNS if isinstance(w, Dictionary) else DENSE_DESIGNS


def as_dense(w):
    return DenseDictionary(w.to_dense().T)


def of_kind(w, masked):
    return w if masked else as_dense(w)


def codes(n, k, count, seed=0):
    return np.stack([sparse_code(n, k, seed=seed * 10_000 + t) for t in range(count)])


def assert_same(found, expected, rows=slice(None)):
    """Every field, bit for bit."""
    for name in ("indices", "coefficients", "steps", "status", "residual_norms"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[rows])
