"""Features that are near one another: by the direction of their columns, and by firing together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_bridge.evaluation import AnySAE
from sae_bridge.features.effects import directions

_BLOCK = 4096


def nearest_by_cosine(
    sae: AnySAE, features: NDArray[np.int64], count: int = 6
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The features whose columns have the largest cosine with each, and it, (features, count); itself left out."""
    mine = _unit(directions(sae, features))
    best, at = torch.full((len(features), 0), 0.0), torch.zeros(len(features), 0, dtype=torch.int64)
    for start in range(0, sae.n, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, sae.n))
        cosine = mine @ _unit(directions(sae, block)).T
        own = (features >= start) & (features < start + len(block))
        cosine[np.flatnonzero(own), features[own] - start] = -2.0
        both = torch.cat([best, cosine], dim=1)
        numbers = torch.cat([at, torch.from_numpy(block).expand(len(features), -1)], dim=1)
        found = both.topk(min(count, both.shape[1]), dim=1)
        best, at = found.values, numbers.gather(1, found.indices)
    return at.numpy(), best.numpy()


def nearest_by_firing(
    together: NDArray[np.int32], counts: NDArray[np.int64], features: NDArray[np.int64], count: int = 6
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The features of largest Jaccard similarity |A cap B| / |A cup B| of firing sets, and it; itself left out."""
    count = min(count, together.shape[1])
    at, similar = np.zeros((len(features), count), np.int64), np.zeros((len(features), count), np.float32)
    for i, j in enumerate(features):
        union = counts[j] + counts - together[i]
        jaccard = together[i] / np.maximum(union, 1)
        jaccard[j] = -1
        at[i] = np.argsort(-jaccard, kind="stable")[:count]
        similar[i] = jaccard[at[i]]
    return at, similar


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)
