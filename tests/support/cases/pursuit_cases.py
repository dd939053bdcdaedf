"""Cases for the statements on OMP, TopK and medians, and these statements by id."""

import math

import numpy as np

from expander_theory import Dictionary, Mask
from expander_theory.theorems._statements import amortisation, l1_erc
from expander_theory.theorems._statements.pursuit import (
    capture,
    gaussian,
    omp,
    omp_flat,
    omp_limits,
    omp_noise,
    onestep,
    random_signs,
    second_step,
    topk,
)
from expander_theory.theorems.case import Case


def by_id(*modules):
    """The statements of these modules, and their mutants."""
    return {v.id: v for module in modules for s in module.STATEMENTS for v in (s, *s.mutants)}


CAPTURE = by_id(capture, second_step, random_signs, gaussian)
KNOWN = by_id(omp, omp_flat, omp_noise, omp_limits, l1_erc, topk, amortisation, onestep)


def of(mask, values, code=None, *, k=None, noise=None, signal=None, id=None):
    """A case, with unit columns if the statement ``id`` needs them, or if none is named."""
    x, e, h = (None if v is None else np.array(v, float) for v in (code, noise, signal))
    k = k or (1 if x is None else int(np.count_nonzero(x)))
    unit = id is None or "unit" in {**KNOWN, **CAPTURE}[id].needs
    return Case(Dictionary(mask, np.array(values, float)), k, x, e, unit=unit, signal=h)


def full(W, code=None, **rest):
    """A case of a dense matrix, every entry on the mask."""
    W = np.array(W, float)
    return of(Mask(W.shape[0], np.tile(np.arange(W.shape[0]), (W.shape[1], 1))), W.T, code, **rest)


def star(d, doubled=False, **rest):
    """A column and a partner through each of its rows, flat."""
    rows = [list(range(d))] + [[i, *range(d + i * (d - 1), d + (i + 1) * (d - 1))] for i in range(d)]
    m = d * d
    if doubled:
        rows.append([0, *range(m, m + d - 1)])
        m += d - 1
    return of(Mask(m, np.array(rows)), np.ones((len(rows), d)), **rest)


def duplicates(code=None, **rest):
    return of(Mask(1, np.array([[0], [0]])), [[1.0], [1.0]], code, **rest)


def simplex(n):
    """n unit vectors of n - 1 dimensions with equal inner products."""
    return np.linalg.svd(np.ones((1, n)))[2][1:] * math.sqrt(n / (n - 1))


def mo_extremal(k):
    """delta_{k+1} = 1/sqrt(k+1) and OMP ties on the first k columns."""
    W = np.zeros((k + 1, k + 1))
    W[:k, :k] = math.sqrt(k / (k + 1)) * np.eye(k)
    W[:k, k], W[k, k] = 1 / math.sqrt(k * (k + 1)), 1.0
    return W


CORNER = np.array([[1.0, 0, 0.6, 0], [0, 1, 0.6, 0], [0, 0, math.sqrt(0.28), 0], [0, 0, 0, 1]])  # ERC({0, 1}) = 1.2
ANGLES = np.deg2rad([0, 154, 297])
FAN = np.array([np.cos(ANGLES), np.sin(ANGLES)])
