"""Whether a decoder has collapsed to coordinates: columns that are one-hot where it matters.

A one-step tied encoder counts a coordinate twice that two chosen columns share; training removes the overlap by making
columns one-hot, and what is left is the coordinate null (:func:`sae_bridge.sae.coordinate_null`). Medians over columns
do not show it, because most columns hardly ever fire: these measures weight a column by the energy that it carries.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from expander_theory.base import require
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, DenseDictionary, Dictionary
from expander_theory.results import Collapse
from sae_bridge.activations import ActivationStore
from sae_bridge.codes import Autoencoder
from sae_bridge.evaluation.reconstruction import mean_activation
from sae_bridge.evaluation.sparsity import active_features
from sae_bridge.sae import coordinate_null

_TOKENS = 4096
_COLUMNS = 1 << 14  # looked at together


@torch.no_grad()
def effective_degrees(weight: Tensor) -> Tensor:
    """1 / sum_i w_ij^4 of each column scaled to unit norm, (n,): 1 for a one-hot column, d for a flat one on d rows.

    Args:
        weight: values of the columns, (n, d) or (n, m), without zero columns.
    """
    squares = weight.detach().double().square()
    return squares.sum(dim=1).square() / squares.square().sum(dim=1)


@torch.no_grad()
def weighted_effective_degree(parts: Sequence[Tensor], energy: Tensor) -> float:
    """The mean effective degree of the columns, each weighted by the energy sum of acts^2 ||w||^2 of its feature.

    Args:
        parts: values of the columns, (n, d) or (n, m), or of blocks of them.
        energy: sum of acts^2 of each feature over some tokens, (n,), as :func:`feature_energy` gives it.

    Returns:
        NaN where no feature is active.
    """
    squares = torch.cat([part.detach().double().square().sum(dim=1) for part in parts])
    energy = energy * squares
    degrees = torch.cat([effective_degrees(part) for part in parts])
    return float((energy * degrees).sum() / energy.sum())


def feature_energy(acts: Tensor, indices: Tensor, n: int) -> Tensor:
    """Sum of acts^2 of each feature over codes (B, K), float64 (n,); zeros are padding."""
    energy = acts.detach().double().square().flatten()
    return torch.zeros(n, dtype=torch.float64, device=acts.device).index_add_(0, indices.flatten(), energy)


@torch.no_grad()
def column_shapes(dictionary: AnyDictionary) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How the columns of a dictionary spread over their rows: no m x n matrix is formed of one on a mask.

    Returns:
        By column, (n,): ||w||^2, the largest share of it on one row (float64); which row that is, the lowest among
        equals (int64); the effective degree (float64).
    """
    parts: tuple[Dictionary | DenseDictionary, ...]
    parts = (dictionary.dense, dictionary.masked) if isinstance(dictionary, BlockDictionary) else (dictionary,)
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for part in parts:
        # Of a dense one a copy of the values would be as large again: some columns at a time.
        values = part.columns if isinstance(part, DenseDictionary) else part.values
        rows = None if isinstance(part, DenseDictionary) else part.mask.rows
        for first in range(0, len(values), _COLUMNS):
            block = torch.tensor(values[first : first + _COLUMNS], dtype=torch.float64)
            squares = block.square()
            energies = squares.sum(dim=1)
            peaks, place = squares.max(dim=1)
            if rows is not None:
                own = torch.tensor(rows[first : first + _COLUMNS], dtype=torch.int64)
                place = own.gather(1, place[:, None])[:, 0]
            found.append((energies, peaks / energies, place, effective_degrees(block)))
    energies, peaks, main, degrees = (torch.cat(blocks) for blocks in zip(*found, strict=True))
    return energies, peaks, main, degrees


@torch.no_grad()
def collapse(sae: Autoencoder, store: ActivationStore, *, mean: Tensor | None = None, k: int | None = None) -> Collapse:
    """Measure on the held-out activations of a store how much of an SAE is the coordinate null of the same k.

    Args:
        sae: any autoencoder in evaluation mode.
        mean: of the training activations, (m,); computed where it is None.
        k: of the null; None: :func:`sae_bridge.evaluation.active_features` of the SAE.

    Raises:
        InvalidArgument: an SAE of another width than the store's, or of k > m: no such null.
    """
    require(sae.m == store.m, "sae", f"of width m = {sae.m}", f"must have the activations' width {store.m}")
    energies, peaks, main, degrees = column_shapes(sae.dictionary())
    like = sae.b_dec.detach()
    count = active_features(sae, store) if k is None else k
    null = coordinate_null((mean_activation(store, "train") if mean is None else mean).float().cpu(), count)
    null = null.to(like.device, like.dtype)
    energy = torch.zeros(len(energies), dtype=torch.float64)
    among = active = 0
    products = torch.zeros(3, dtype=torch.float64)
    for part in store.batches("held_out", _TOKENS):
        h = part.to(like.device, like.dtype)
        acts, indices = sae.encode(h)
        kept_acts, kept = null.encode(h)
        own, other = (h - sae.decode(acts, indices)).double(), (h - null.decode(kept_acts, kept)).double()
        products += torch.stack([(own * other).sum(), own.square().sum(), other.square().sum()]).cpu()
        acts, indices, kept = acts.cpu(), indices.cpu(), kept.cpu()
        energy += feature_energy(acts, indices, len(energies))
        largest = torch.zeros(len(h), sae.m, dtype=torch.bool).scatter_(1, kept, True)
        fired = acts != 0
        among += int((largest.gather(1, main[indices]) & fired).sum())
        active += int(fired.sum())
    energy *= energies
    total = float(energy.sum())
    norms = float((products[1] * products[2]).sqrt())
    return Collapse(
        effective_degree=float((energy * degrees).sum() / total) if total > 0 else None,
        effective_degree_of_columns=float(degrees.mean()),
        peak=float((energy * peaks).sum() / total) if total > 0 else None,
        on_largest_coordinates=among / active if active else None,
        residual_cosine=float(products[0]) / norms if norms > 0 else None,
    )
