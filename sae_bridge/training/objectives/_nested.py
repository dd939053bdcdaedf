"""Matryoshka SAEs: every prefix of the features reconstructs on its own (Bussmann et al. 2025, arXiv 2503.17547).

The loss is the mean over prefixes g of ||W code_{< g} - x||^2 / m, b_dec entering every one. The paper has the sum;
SAELens too, and dictionary_learning weights 1/G as here. The mean keeps a loss in which predicting zero costs 1, so
that learning rate, clipping and AuxK mean what they do without groups. (The authors' code has one term more, of no
feature at all, in which only b_dec can learn.) AuxK is the usual one, of the whole SAE's residual, as in theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sae_bridge.sae import SparseAutoencoder
from sae_bridge.training.objectives._reconstruction import Objective, Outcome


class NestedObjective(Objective):
    """The mean error of the prefixes of an SAE with ``groups``."""

    def _outcome(self, acts: Tensor, indices: Tensor, target: Tensor) -> Outcome:
        combined = list(nested_reconstructions(self.sae, acts, indices))
        residuals = [part - target for part in combined]
        errors = [residual.square().sum() / len(target) for residual in residuals]
        loss = torch.stack(errors).mean() / self.sae.m
        return Outcome(acts, indices, combined[-1], residuals[-1], errors[-1], loss)


def nested_reconstructions(sae: SparseAutoencoder, acts: Tensor, indices: Tensor) -> Iterator[Tensor]:
    """W code of each prefix of ``sae.groups``, (B, m), from the smallest to all features.

    Every prefix adds its own features to the one before, so that a feature is decoded once: the cost is that of the
    largest number of active features that a token has in each group, summed over groups, and not G times K.
    """
    combined, first = acts.new_zeros(len(acts), sae.m), 0
    for size in sae.groups or (sae.n,):
        own = (indices >= first) & (indices < size) & (acts != 0)
        combined = combined + sae.combine(*_packed(acts, indices, own), trusted=True)
        yield combined
        first = size


def _packed(acts: Tensor, indices: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the codes (B, K) that ``own`` (B, K) says, moved to the left and cut to the width of the widest."""
    filled = own.cumsum(dim=1)
    most = max(1, int(filled[:, -1].max())) if len(acts) else 1
    places = own.flatten().nonzero().flatten()
    slots = places // own.shape[1] * most + filled.flatten()[places] - 1
    values, features = (codes.new_zeros(len(codes) * most) for codes in (acts, indices))
    values = values.index_copy(0, slots, acts.flatten().index_select(0, places))
    features = features.index_copy(0, slots, indices.flatten()[places])
    return values.view(-1, most), features.view(-1, most)
