"""Where b_dec starts: the mean of the activations, or their geometric median."""

import torch
from torch import Tensor

_ITERATIONS, _TOLERANCE = 100, 1e-6


def geometric_median(points: Tensor) -> Tensor:
    """The point of least mean distance to ``points`` (N, m), by Weiszfeld's iteration from the mean.

    It stops when a step is shorter than 1e-6 of the mean distance, after 100 steps at most.
    """
    # Squares of very large or very small activations would overflow or vanish; a power of two changes no digit.
    power = 2.0 ** float(torch.frexp(points.abs().max()).exponent) if points.numel() else 1.0
    points = points / power
    centre = points.mean(dim=0)
    for _ in range(_ITERATIONS):
        distances = torch.linalg.vector_norm(points - centre, dim=1)
        weights = 1 / distances.clamp_min(_TOLERANCE * float(distances.mean()) + torch.finfo(points.dtype).tiny)
        moved = (weights @ points) / weights.sum()
        step = float(torch.linalg.vector_norm(moved - centre))
        centre = moved
        if step <= _TOLERANCE * float(distances.mean()):
            break
    return centre * power
