"""Dictionaries and planted signals that the tests of OMP in torch share."""

import numpy as np
import torch

from expander_theory import (
    dense_gaussian_dictionary,
    gaussian_dictionary,
    sign_dictionary,
    sparse_code,
    uniform_mask,
)

FAMILIES = {"signs": sign_dictionary, "gaussian": gaussian_dictionary}


def dictionary_of(family, m, n, d):
    if family == "dense":
        return dense_gaussian_dictionary(m, n, seed=1)
    return FAMILIES[family](uniform_mask(m, n, d, seed=d), seed=2)


def planted(w, k, count, law="gaussian"):
    return w.matvec(np.stack([sparse_code(w.n, k, coefficients=law, seed=t) for t in range(count)]))


def near_tie(matrix, h, order):
    """Whether the first choice that differs from ``order`` or any before it was decided by less than 1e-9 ||h||."""
    residual = h
    order = list(order)
    for t, atom in enumerate(order):
        correlation = np.abs(matrix.T @ residual)
        correlation[order[:t]] = -1
        if np.sort(correlation)[-1] - np.sort(correlation)[-2] < 1e-9 * np.linalg.norm(h):
            return True
        chosen = matrix[:, [*order[:t], atom]]
        residual = h - chosen @ np.linalg.lstsq(chosen, h, rcond=None)[0]
    return False


W = sign_dictionary(uniform_mask(8, 12, 3, seed=0), seed=0)
H = torch.ones(8)
