"""The best coefficients on supports that are given: what a better rule for values alone would buy an encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from expander_theory.base import require
from sae_bridge.kernels.checks import require_features
from sae_bridge.kernels.omp.nonnegative import nonnegative_least_squares
from sae_bridge.pursuits import TensorDictionary

DEPENDENT = 1e-9
"""Directions of W_S whose squared singular value is below this share of the largest count as dependent."""
_BUDGET = 1 << 27  # bytes of atoms and Gram matrices at a time


@torch.no_grad()
def fit_on_support(
    dictionary: TensorDictionary, x: Tensor, acts: Tensor, indices: Tensor, *, nonnegative: bool = False
) -> Tensor:
    """argmin ||x - W_S c||_2 for each token, S the places where its ``acts`` are not zero; of least norm where W_S is
    rank deficient, and with c >= 0 if asked for.

    Never worse than ``acts``: computed in float64 on the Gram matrices, and a token whose result has the larger error
    once it is rounded to the dtype of ``acts`` keeps what it had (its negative values replaced by 0 for nonnegative
    fits).

    Args:
        dictionary: columns of any norm.
        x: (B, m), floating.
        acts, indices: (B, K), the codes to improve on; zeros are padding.

    Returns:
        coefficients (B, K) for the same indices, in the dtype of ``acts``.

    Raises:
        InvalidArgument: shapes that do not fit, or an index that is no column.
    """
    fits = x.ndim == 2 and x.shape[1] == dictionary.m
    require(fits, "x", f"tensor of shape {tuple(x.shape)}", f"must have shape (B, {dictionary.m})")
    fits = acts.ndim == 2 and acts.shape == indices.shape and len(acts) == len(x)
    require(fits, "acts", f"tensor of shape {tuple(acts.shape)}", f"must be ({len(x)}, K), as indices are")
    require(indices.dtype == torch.int64, "indices", indices.dtype, "must be int64")
    require_features(indices, dictionary.n)
    width = acts.shape[1]
    size = tokens_at_a_time(width, dictionary.m)
    exact = dictionary.to(x.double())
    parts = zip(x.split(size), acts.split(size), indices.split(size), strict=True)
    return torch.cat([_fit(exact, *part, nonnegative) for part in parts])


def tokens_at_a_time(width: int, m: int) -> int:
    """How many tokens' atoms (width, m) and Gram matrices, in float64, fit the memory that is spent on them."""
    return max(1, _BUDGET // (8 * width * (m + 8 * width)))


def _fit(dictionary: TensorDictionary, x: Tensor, acts: Tensor, indices: Tensor, nonnegative: bool) -> Tensor:
    before = acts.clamp_min(0) if nonnegative else acts
    active, h = acts != 0, x.double()
    atoms = torch.where(active[..., None], atoms_of(dictionary, indices), 0.0)
    gram, target = atoms @ atoms.mT, (atoms @ h[..., None])[..., 0]
    if nonnegative:
        ridge = DEPENDENT * gram.diagonal(dim1=1, dim2=2).amax(1).clamp_min(1e-300)
        regular = gram + torch.diag_embed(ridge[:, None].expand_as(target))
        found = nonnegative_least_squares(regular, target, before.double(), active)
    else:
        found = solution(gram, target, active)
    after = torch.where(active, found, 0.0).to(acts.dtype)

    def error(coefficients: Tensor) -> Tensor:
        return torch.linalg.vector_norm(h - (coefficients.double()[:, None] @ atoms)[:, 0], dim=1)

    return torch.where((error(after) <= error(before))[:, None], after, before)


def solution(gram: Tensor, target: Tensor, active: Tensor) -> Tensor:
    """G^+ b of each token: by Cholesky, or where a pivot is small by eigenvalues. Differentiable in b.

    Args:
        gram: G, (B, K, K), zero but for active atoms.
        target: b, (B, K), likewise.
        active: bool (B, K).
    """
    largest = gram.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
    idle = torch.diag_embed(torch.where(active, 0.0, torch.where(largest > 0, largest, 1.0)))
    factor, failed = torch.linalg.cholesky_ex(gram + idle)
    pivots = factor.diagonal(dim1=1, dim2=2).square()
    dependent = (failed > 0) | ~(pivots > DEPENDENT * largest).all(1)
    if not dependent.any():
        return torch.cholesky_solve(target[..., None], factor)[..., 0]
    unit = torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device)
    factor = torch.where(dependent[:, None, None], unit, factor)  # a failed one may hold NaN
    found = torch.cholesky_solve(target[..., None], factor)[..., 0].clone()
    values, vectors = torch.linalg.eigh(gram[dependent])
    kept = values > DEPENDENT * values[:, -1:]
    inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
    coordinates = vectors.mT @ target[dependent][..., None]
    found[dependent] = (vectors @ (inverse[..., None] * coordinates))[..., 0]
    return found


def atoms_of(dictionary: TensorDictionary, indices: Tensor) -> Tensor:
    """The columns named, as rows: (B, K, m)."""
    values = dictionary.values[indices]
    if dictionary.rows is None:
        return values
    empty = values.new_zeros(*indices.shape, dictionary.m)
    return empty.scatter_(2, dictionary.rows[indices].long(), values)
