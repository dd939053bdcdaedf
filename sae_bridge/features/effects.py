"""What a direction of the residual stream does to the next token, through the final normalisation and unembedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import require
from sae_bridge.evaluation import AnySAE
from sae_bridge.models import LanguageModel

_VALUES = 1 << 24
"""Logits at a time: 64 MiB."""


@dataclass(frozen=True)
class Effects:
    """Tokens that directions promote and suppress most, by logit less the mean logit over the vocabulary.

    Attributes:
        promoted, suppressed: token ids, from the strongest on, (directions, count).
        up, down: their effects, (directions, count).
    """

    promoted: NDArray[np.int64]
    up: NDArray[np.float32]
    suppressed: NDArray[np.int64]
    down: NDArray[np.float32]


@torch.no_grad()
def directions(sae: AnySAE, features: NDArray[np.int64]) -> Tensor:
    """What one unit of each feature adds to the activation, in the units of h: float32 (features, m) on the CPU."""
    chosen = torch.from_numpy(features)[:, None].to(sae.device)
    ones = torch.ones(len(features), 1, device=sae.device, dtype=sae.weight.dtype)
    return (sae.decode(ones, chosen) - sae.decode(torch.zeros_like(ones), chosen)).float().cpu()


@torch.no_grad()
def effects(model: LanguageModel, rows: Tensor, count: int = 10) -> Effects:
    """The logit effects of directions as if the last block wrote nothing else: unembedding of norm(w), less that of 0.

    The normalisation removes a direction's length, so that effects compare directions, not activations. The "logit
    lens" of the field, by running the model's own last steps, whatever they are.

    Args:
        model: the language model.
        rows: directions, (c, m), none zero.
        count: tokens at each end.

    Raises:
        InvalidArgument: directions of another width.
    """
    require(rows.ndim == 2 and rows.shape[1] == model.m, "rows", tuple(rows.shape), f"must be rows of m = {model.m}")
    count = min(count, model.vocabulary)
    ends: list[tuple[Tensor, ...]] = []
    for logits in _logits(model, rows):
        centred = logits - logits.mean(dim=1, keepdim=True)
        up, down = centred.topk(count, dim=1), centred.topk(count, dim=1, largest=False)
        ends.append((up.indices, up.values, down.indices, down.values))
    promoted, up, suppressed, down = (torch.cat(parts).numpy() for parts in zip(*ends, strict=True))
    return Effects(promoted, up, suppressed, down)


def _logits(model: LanguageModel, rows: Tensor) -> Iterator[Tensor]:
    last, step = len(model.layers) - 1, max(1, _VALUES // model.vocabulary)
    nothing = _through(model, last, torch.zeros(1, model.m))
    for start in range(0, len(rows), step):
        yield _through(model, last, rows[start : start + step]) - nothing


def _through(model: LanguageModel, last: int, rows: Tensor) -> Tensor:
    """Logits (c, V) on the CPU, float32, when the last block hands on each row."""
    tokens = torch.zeros(len(rows), 1, dtype=torch.long)
    return model.logits_from(tokens, last, "resid_post", rows[:, None]).float().cpu()[:, 0]
