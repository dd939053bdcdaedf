"""Two short OMP implementations that many write for themselves, and the float64 reference that settles disputes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.dictionaries import Dictionary, Floats


def sparse_loop(transposed: Any, signals: Floats, k: int) -> NDArray[np.int64]:
    """A scipy.sparse matrix-vector product a step, and the normal equations of the chosen atoms.

    Args:
        transposed: W^T as ``scipy.sparse.csr_array`` (n, m).

    Returns:
        (batch, k) atoms in the order of selection.
    """
    chosen = np.empty((len(signals), k), np.int64)
    for h, support in zip(signals, chosen, strict=True):
        atoms = np.zeros((k, h.size), h.dtype)
        gram, target, residual = np.zeros((k, k), h.dtype), np.zeros(k, h.dtype), h
        for t in range(k):
            scores = np.abs(transposed @ residual)
            scores[support[:t]] = -1
            atom = support[t] = scores.argmax()
            entries = slice(transposed.indptr[atom], transposed.indptr[atom + 1])
            atoms[t, transposed.indices[entries]] = transposed.data[entries]
            gram[t, : t + 1] = gram[: t + 1, t] = atoms[: t + 1] @ atoms[t]
            target[t] = atoms[t] @ h
            residual = h - np.linalg.solve(gram[: t + 1, : t + 1], target[: t + 1]) @ atoms[: t + 1]
    return chosen


def structured_numpy(rows: NDArray[np.int32], values: Floats, signals: Floats, k: int) -> NDArray[np.int64]:
    """The structured OMP with QR of Expander Sparse Autoencoders (arXiv 2607.01799), in plain NumPy.

    Correlations by gather and sum over d, residual by Gram-Schmidt. One change: the paper's code takes the largest
    signed correlation, which recovers no signed code; here it is the largest modulus.

    Returns:
        (batch, k) atoms in the order of selection.
    """
    chosen = np.empty((len(signals), k), np.int64)
    for h, support in zip(signals, chosen, strict=True):
        basis, triangle, projections = np.zeros((h.size, k), h.dtype), np.zeros((k, k), h.dtype), np.zeros(k, h.dtype)
        residual = h.copy()
        for t in range(k):
            scores = np.abs((values * residual[rows]).sum(axis=1))
            scores[support[:t]] = -1
            atom = support[t] = scores.argmax()
            column = np.zeros_like(h)
            column[rows[atom]] = values[atom]
            triangle[:t, t] = basis[:, :t].T @ column
            column -= basis[:, :t] @ triangle[:t, t]
            triangle[t, t] = np.linalg.norm(column)
            basis[:, t] = column / triangle[t, t]
            projections[t] = basis[:, t] @ h
            residual -= projections[t] * basis[:, t]
        np.linalg.solve(triangle, projections)  # the coefficients, which the comparison does not need
    return chosen


NEAR_TIE = 1000
"""Two moduli of correlations within this many machine epsilons times ||h|| of each other are a near-tie."""


@dataclass(frozen=True)
class TieAwareOMP:
    """Plain float64 OMP with a QR factorisation a step, which says where rounding may decide.

    Attributes:
        transposed: W^T, float64 (n, m).
        epsilon: of the dtype that is judged.
    """

    transposed: Any
    epsilon: float

    @classmethod
    def of(cls, dictionary: Dictionary) -> TieAwareOMP:
        """For solutions in the dtype of the dictionary."""
        epsilon = float(np.finfo(dictionary.dtype).eps)
        return cls(dictionary.astype(np.float64).to_scipy().T.tocsr(), epsilon)

    def support(self, h: Floats, k: int) -> tuple[NDArray[np.int64], bool]:
        """The support, increasing, and whether a near-tie was met on the way."""
        signal = h.astype(np.float64)
        tie, residual, chosen = NEAR_TIE * self.epsilon * np.linalg.norm(signal), signal, []
        near = False
        for _ in range(k):
            scores = np.abs(self.transposed @ residual)
            scores[chosen] = -1
            second, first = np.partition(scores, -2)[-2:]
            near |= bool(first - second <= tie)
            chosen.append(int(scores.argmax()))
            basis = np.linalg.qr(self.transposed[chosen].toarray().T)[0]
            residual = signal - basis @ (basis.T @ signal)
        return np.sort(np.asarray(chosen)), near
