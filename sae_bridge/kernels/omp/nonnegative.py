"""Nonnegative least squares for a batch of small problems in lockstep."""

import math

import torch
from torch import Tensor


def nonnegative_least_squares(gram: Tensor, target: Tensor, start: Tensor, allowed: Tensor) -> Tensor:
    """argmin over c >= 0 of c^T G c / 2 - b^T c, with c = 0 where not ``allowed``: the active-set method.

    Each problem keeps a set of free entries. Where their minimiser z is positive, c becomes z and the entry that is
    not free with the largest gradient (b - G c)_i is freed; where it is not, c moves towards z until an entry vanishes,
    which is then no longer free. A problem is settled when no such gradient is positive beyond rounding.
    Source: Lawson and Hanson 1974, chapter 23.

    Args:
        gram: G, (B, t, t), positive definite on the allowed entries.
        target: b, (B, t).
        start: (B, t), nonnegative, 0 where not allowed; near the minimiser, few rounds are needed.
        allowed: bool (B, t).
    """
    t = gram.shape[1]
    rounding = 10 * t * torch.finfo(gram.dtype).eps * target.abs().amax(1, keepdim=True)
    places = torch.arange(t, device=gram.device)

    def steepest(c: Tensor, free: Tensor) -> Tensor:
        gradient = target - (gram @ c[..., None])[..., 0]
        gradient = torch.where(allowed & ~free & (gradient > rounding), gradient, 0.0)
        largest = (gradient > 0) & (gradient == gradient.amax(1, keepdim=True))
        return places == torch.where(largest, places, t).amin(1, keepdim=True)

    # Begin with what is positive, and the entry that would grow fastest.
    c, free = start, start > 0
    free = free | steepest(c, free)
    for _ in range(3 * t):  # their limit against cycles of rounding; c is feasible and descends whenever it stops
        # Minimise on the free entries; where some would not be positive, go only until the first of them vanishes.
        z = solve_on(free, gram, target)
        ratio = torch.where(free & (z <= 0), torch.where(c > z, c / (c - z), 0.0), math.inf)
        step = ratio.amin(1, keepdim=True)
        settled = step == math.inf
        moved = torch.where(settled, z, c + torch.where(settled, 0.0, step) * (z - c))
        # Bind what has vanished. Where the minimiser was reached, free the entry of largest gradient, if any.
        free = free & (settled | (ratio > step))
        c = torch.where(free, moved, 0.0)
        entering = settled & steepest(c, free)
        free = free | entering
        if not (~settled | entering).any():
            break
    return c.clamp_min(0)


def solve_on(free: Tensor, gram: Tensor, target: Tensor) -> Tensor:
    """The solution z of G z = b on the free entries, (B, t); 0 elsewhere."""
    both = free[:, :, None] & free[:, None, :]
    matrix = torch.where(both, gram, 0.0) + torch.diag_embed((~free).to(gram.dtype))
    return torch.linalg.solve_ex(matrix, torch.where(free, target, 0.0))[0]
