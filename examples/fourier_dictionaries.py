"""Partial Fourier dictionaries, in their real form, as an ensemble for sweeps: random rows of an orthonormal transform.

expander sweep fourier --n 512 --family examples/fourier_dictionaries.py:partial_fourier dense --trials 50
"""

import numpy as np
from scipy.fft import dct


def partial_fourier(m, n, d, rng):
    """W in R^{m x n}: m random rows of the n x n discrete cosine transform. The degree d is not used."""
    rows = rng.permutation(n)[:m]
    return dct(np.eye(n), axis=0, norm="ortho")[rows]
