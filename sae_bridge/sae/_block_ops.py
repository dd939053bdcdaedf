"""The products of an SAE whose first r columns are dense and whose others lie on a mask: those of :mod:`ops`, twice.

Features 0 .. r - 1 are those of ``dense`` (r, m), features r .. n - 1 those of ``weight`` (n - r, d) at ``rows``. Both
are as differentiable as :mod:`ops` is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sae_bridge.kernels.checks import require_features
from sae_bridge.sae import ops


def encode(
    x: Tensor, dense: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, k: int, *, magnitude: bool = False
) -> tuple[Tensor, Tensor]:
    """The k largest of E x + bias over both parts, as :func:`ops.encode` has them; one part may have no features.

    Args:
        bias: (n,).
        rows: of a mask, which are not checked again.
    """
    r = len(dense)
    if r == 0:
        return ops.encode(x, weight, bias, rows, k, magnitude=magnitude, trusted=True)
    if len(weight) == 0:
        return ops.encode(x, dense, bias, None, k, magnitude=magnitude, trusted=True)
    first = ops.encode(x, dense, bias[:r], None, min(k, r), magnitude=magnitude, trusted=True)
    rest = ops.encode(x, weight, bias[r:], rows, min(k, len(weight)), magnitude=magnitude, trusted=True)
    scores, indices = torch.cat([first[0], rest[0]], dim=1), torch.cat([first[1], rest[1] + r], dim=1)
    order = (scores.abs() if magnitude else scores).sort(dim=1, descending=True, stable=True).indices[:, :k]
    return scores.gather(1, order), indices.gather(1, order)


def decode(
    acts: Tensor, indices: Tensor, dense: Tensor, weight: Tensor, rows: Tensor, m: int, *, trusted: bool = False
) -> Tensor:
    """sum_i acts[:, i] w_{indices[:, i]}, shape (B, m); see :func:`ops.decode`.

    Raises:
        InvalidArgument: an index that is no feature, or as :func:`ops.decode`.
    """
    r = len(dense)
    if not (trusted or torch.compiler.is_compiling()):
        require_features(indices, r + len(weight))
    if r == 0:
        return ops.decode(acts, indices, weight, rows, m, trusted=trusted)
    if len(weight) == 0:
        return ops.decode(acts, indices, dense, None, m, trusted=trusted)
    own = indices < r
    of_dense = ops.decode(torch.where(own, acts, 0), torch.where(own, indices, 0), dense, None, m, trusted=trusted)
    others = (indices - r).clamp_min(0)
    return of_dense + ops.decode(torch.where(own, 0, acts), others, weight, rows, m, trusted=trusted)


def scores_at(x: Tensor, indices: Tensor, dense: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    """E x of chosen features, (B, K); see :func:`ops.scores_at`."""
    r = len(dense)
    if r == 0:
        return ops.scores_at(x, indices, weight, rows)
    if len(weight) == 0:
        return ops.scores_at(x, indices, dense, None)
    own = indices < r
    of_dense = ops.scores_at(x, torch.where(own, indices, 0), dense, None)
    return torch.where(own, of_dense, ops.scores_at(x, (indices - r).clamp_min(0), weight, rows))
