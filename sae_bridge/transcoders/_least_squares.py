"""Linear maps by least squares with a ridge, from sums over batches: of inputs, or of codes of fixed features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from expander_theory.masks import Mask

RIDGES = tuple(10.0**power for power in range(-6, 1))
"""Ridges that are tried, as shares of the mean variance of what is mapped."""
HELD_BACK = 10
"""One batch in so many chooses the ridge; then all of them fit."""


class Sums:
    """Sums of 1, a, y, a a^T, a y^T and |y|^2 over tokens, float64: all that a least-squares fit of y on a needs."""

    def __init__(self, width: int, width_out: int) -> None:
        self.count, self.square = 0, 0.0
        self.a, self.y = torch.zeros(width, dtype=torch.float64), torch.zeros(width_out, dtype=torch.float64)
        self.aa = torch.zeros(width, width, dtype=torch.float64)
        self.ay = torch.zeros(width, width_out, dtype=torch.float64)

    def add(self, a: Tensor, y: Tensor) -> None:
        """More tokens: a (B, width), y (B, width_out)."""
        a, y = a.double(), y.double()
        self.count += len(a)
        self.square += float(y.square().sum())
        self.a += a.sum(dim=0)
        self.y += y.sum(dim=0)
        self.aa += a.T @ a
        self.ay += a.T @ y

    def plus(self, other: Sums) -> Sums:
        """The sums over both."""
        both = Sums(len(self.a), len(self.y))
        for name, value in vars(self).items():
            setattr(both, name, value + getattr(other, name))
        return both


@dataclass(frozen=True)
class LinearMap:
    """y_hat = a @ matrix + offset, float64: matrix (width, width_out), offset (width_out,)."""

    matrix: Tensor
    offset: Tensor

    def error(self, sums: Sums) -> float:
        """sum |y - y_hat|^2 over the tokens of some sums."""
        w, b, count = self.matrix, self.offset, sums.count
        fitted = (w * (sums.aa @ w)).sum() + 2 * (sums.a @ w) @ b + count * b @ b
        return float(sums.square - 2 * ((w * sums.ay).sum() + sums.y @ b) + fitted)


def fit(sums: Sums, ridge: float, mask: Mask | None = None) -> LinearMap:
    """argmin |y - a W - b|^2 + ridge * mean variance of a * count * |W|^2.

    Args:
        sums: of at least one token.
        ridge: positive.
        mask: row j of W is free at the rows of column j of the mask, (width_out rows), and 0 elsewhere; None: all free.
    """
    mean_a, mean_y = sums.a / sums.count, sums.y / sums.count
    gram = sums.aa - sums.count * torch.outer(mean_a, mean_a)
    cross = sums.ay - sums.count * torch.outer(mean_a, mean_y)
    scale = float(gram.diagonal().mean()) or 1.0
    gram.diagonal().add_(ridge * scale)
    if mask is None:
        matrix = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))
    else:
        matrix = torch.zeros_like(cross)
        columns = np.repeat(np.arange(mask.n), mask.d)
        order = np.argsort(mask.rows, axis=None, kind="stable")
        ends = np.searchsorted(mask.rows.reshape(-1)[order], np.arange(mask.m + 1))
        for row in range(mask.m):
            own = torch.from_numpy(columns[order[ends[row] : ends[row + 1]]])
            if len(own):
                part = torch.linalg.cholesky(gram[own][:, own])
                matrix[own, row] = torch.cholesky_solve(cross[own, row][:, None], part)[:, 0]
    return LinearMap(matrix, mean_y - mean_a @ matrix)


def best_fit(
    batches: Iterable[tuple[Tensor, Tensor]], width: int, width_out: int, mask: Mask | None = None
) -> LinearMap:
    """The fit on all batches (a, y), with the ridge that is best on every tenth one when the others are fitted."""
    own, held_back = Sums(width, width_out), Sums(width, width_out)
    for number, (a, y) in enumerate(batches):
        (held_back if number % HELD_BACK == HELD_BACK - 1 else own).add(a, y)
    ridge = 1e-3
    if held_back.count:
        ridge = min(RIDGES, key=lambda one: fit(own, one, mask).error(held_back))
    return fit(own.plus(held_back), ridge, mask)
