"""Directions pushed apart: less interference between known features than chance gives."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

_CHUNK = 1024


def spread(directions: NDArray[np.float64], steps: int, rate: float) -> NDArray[np.float64]:
    """Adam steps on sum_{i != j} (w_i . w_j)^2 + n sum_i (|w_i|^2 - 1)^2, entries of 0 left at 0; unit rows.

    The loss and the optimiser of SAELens's orthogonalisation; entries that are 0 stay, so that a mask is kept.

    Args:
        directions: unit rows, (n, m).
        steps: of Adam; 0 changes nothing.
        rate: its learning rate.
    """
    if not steps:
        return directions
    w = torch.from_numpy(directions).clone().requires_grad_()
    free = torch.from_numpy(directions != 0)
    optimiser = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        for start in range(0, len(w), _CHUNK):
            part = w[start : start + _CHUNK]
            gram = part @ w.T
            own = gram.diagonal(start)
            (gram.square().sum() - own.square().sum() + len(w) * (own - 1).square().sum()).backward()
        if w.grad is not None:
            w.grad.mul_(free)
        optimiser.step()
    found = w.detach().numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)
