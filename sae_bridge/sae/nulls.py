"""What codes that have learned nothing score: the least that a trained SAE of the same k has to beat.

Each is an ordinary SAE (encode, decode, k) in evaluation mode, float32, on the CPU, with scale 1 and the mean of the
training activations as b_dec: nothing else comes from data, except where a docstring says so.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import require, require_int
from expander_theory.masks import Mask
from sae_bridge.sae.autoencoder import SparseAutoencoder
from sae_bridge.sae.block_sae import BlockSAE
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

SAE = TypeVar("SAE", bound=SparseAutoencoder)


def coordinate_null(mean: Tensor, k: int, *, nonnegative: bool = False) -> ExpanderSAE:
    """The coordinate null: h less its mean, of which the k entries of largest modulus are kept exactly, plus the mean.

    It is a 1-regular dictionary, the standard basis (n = m, d = 1, all values 1): no decoder value is learned. Ties go
    to the lowest row.

    Args:
        mean: of the training activations, (m,).
        k: entries kept, 1..m.
        nonnegative: keep the k largest entries that are positive instead: codes >= 0, as a TopK SAE with ReLU has them.
            (With 2 m columns, the standard basis and its negative, codes >= 0 give what free signs give here.)

    Returns:
        An SAE whose ``decoder_values`` count the m ones, which nobody learned.

    Raises:
        InvalidArgument: k outside 1..m, or a mean that is no finite vector.
    """
    m = _width(mean)
    _require_k(k, m)
    mask = Mask(m, np.arange(m, dtype=np.int32)[:, None], "coordinates")
    sae = ExpanderSAE(mask, k, selection="signed" if nonnegative else "magnitude")
    return _null(sae, mean, torch.ones(m, 1))


def principal_null(mean: Tensor, directions: Tensor, k: int, *, leading: bool = False) -> TopKSAE:
    """The principal null: k principal coordinates of h less its mean, plus the mean. Nothing sparse is about it.

    Args:
        mean: of the training activations, (m,).
        directions: principal directions of the training activations as unit rows, by decreasing variance, (r, m): what
            it takes from data, r m values.
        k: coordinates kept, 1..r.
        leading: keep the first k for every token (the best fixed subspace: k m values) instead of the k of largest
            modulus.

    Raises:
        InvalidArgument: k out of range, a mean or directions that are not as above.
    """
    m = _width(mean)
    shape = tuple(directions.shape)
    fits = directions.ndim == 2 and 1 <= shape[0] <= m == shape[1]
    require(fits, "directions", f"tensor of shape {shape}", f"must be rows of m = {m} entries, at most m of them")
    gram = directions.double() @ directions.double().T
    orthonormal = bool((gram - torch.eye(len(gram), dtype=gram.dtype)).abs().max() <= 1e-3)
    require(orthonormal, "directions", "tensor", "must be orthonormal")
    _require_k(k, len(directions), "the number of directions")
    basis = directions[:k] if leading else directions
    return _null(TopKSAE(m, len(basis), k, selection="magnitude"), mean, basis)


Columns = Mask | int | tuple[int, Mask]
"""What columns an untrained decoder has: their supports, or how many dense ones there are, or how many dense ones go
before those of a mask."""


def untrained_null(mean: Tensor, columns: Columns, k: int, *, seed: int = 0) -> SparseAutoencoder:
    """The untrained null: random values on a mask, as training would start, and OMP as the encoder.

    What pursuit alone does: the least that an SAE trained with OMP has to beat at the same d. No value is learned.

    Args:
        mean: of the training activations, (m,).
        columns: their supports; how many there are of a dense one; or r dense ones and the supports of the others.
        k: atoms of a code, 1..min(m, n).
        seed: of the values.

    Raises:
        InvalidArgument: k out of range, a mask of another width, fewer than one column.
    """
    m = _width(mean)
    if isinstance(columns, tuple):
        r, mask = columns
        require(mask.m == m, "columns", f"mask of m = {mask.m} rows", f"must have m = {m}")
        return _null(BlockSAE(mask, r, k, seed=seed, encoder="omp"), mean)
    if not isinstance(columns, Mask):
        require(require_int("columns", columns) >= 1, "columns", columns, "must be at least 1, or a mask")
        return _null(TopKSAE(m, columns, k, seed=seed, encoder="omp"), mean)
    require(columns.m == m, "columns", f"mask of m = {columns.m} rows", f"must have m = {m}")
    return _null(ExpanderSAE(columns, k, seed=seed, encoder="omp"), mean)


class MeanSAE(ExpanderSAE):
    """The mean null: every reconstruction is the mean, every code is empty."""

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros (B, k), which is padding, at feature 0."""
        return x.new_zeros(len(x), self.k), torch.zeros(len(x), self.k, dtype=torch.int64, device=x.device)


def mean_null(mean: Tensor, k: int = 1) -> MeanSAE:
    """The mean null: the reconstruction is the mean, whatever h is, so that its FVU is 1 but for the held-out mean.

    Args:
        mean: of the training activations, (m,).
        k: what it says that it is, 1..m; no code has a feature.

    Raises:
        InvalidArgument: k outside 1..m, or a mean that is no finite vector.
    """
    m = _width(mean)
    _require_k(k, m)
    return _null(MeanSAE(Mask(m, np.arange(m, dtype=np.int32)[:, None], "coordinates"), k), mean, torch.ones(m, 1))


def _width(mean: Tensor) -> int:
    sound = mean.ndim == 1 and len(mean) > 0 and bool(mean.isfinite().all())
    require(sound, "mean", f"tensor of shape {tuple(mean.shape)}", "must be a finite vector (m,)")
    return len(mean)


def _require_k(k: int, most: int, what: str = "m") -> None:
    require(1 <= require_int("k", k) <= most, "k", k, f"must be between 1 and {what} = {most}")


@torch.no_grad()
def _null(sae: SAE, mean: Tensor, weight: Tensor | None = None) -> SAE:
    if weight is not None:
        sae.weight.copy_(weight)
    sae.b_dec.copy_(mean)
    return sae.eval()
