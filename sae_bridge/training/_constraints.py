"""Decoders of control experiments that no mask describes: of low rank, and on masks of irregular degree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import generator, require
from sae_bridge.sae import SparseAutoencoder
from sae_bridge.training.recipe import Training


def constraint(how: Training, sae: SparseAutoencoder) -> Callable[[], object] | None:
    """What a recipe asks to do to the decoder after every step (columns are scaled to unit norm after it), if anything.

    Raises:
        InvalidArgument: a rank or a mean degree that the decoder cannot have.
    """
    if how.rank is not None:
        rank = how.rank
        require(rank <= min(sae.m, sae.n), "rank", rank, f"must be at most min(m, n) = {min(sae.m, sae.n)}")
        return lambda: project_to_rank(sae.weight.data, rank)
    if how.mean_degree is not None:
        kept = irregular_places(sae.m, len(sae.weight), sae.weight.shape[1], how.mean_degree, how.seed).to(sae.device)
        return lambda: sae.weight.data.mul_(kept)
    return None


@torch.no_grad()
def project_to_rank(weight: Tensor, rank: int) -> None:
    """Replace (n, m) by its best approximation of that rank, in place: rows projected on the leading eigenvectors of
    weight^T weight."""
    _, vectors = torch.linalg.eigh((weight.T @ weight).double())
    leading = vectors[:, -rank:].to(weight.dtype)
    weight.copy_((weight @ leading) @ leading.T)


def irregular_places(m: int, n: int, d: int, mean_degree: float, seed: int) -> Tensor:
    """Which of its d places each column keeps, bool (n, d): Binomial(m, mean_degree / m) of them, from 1 to d."""
    require(0 < mean_degree <= d, "mean_degree", mean_degree, f"must be positive and at most d = {d}")
    rng = generator(seed, "irregular degrees")
    degrees = np.clip(rng.binomial(m, mean_degree / m, size=n), 1, d)
    rank = rng.random((n, d)).argsort(axis=1).argsort(axis=1)
    return torch.from_numpy(rank < degrees[:, None])
