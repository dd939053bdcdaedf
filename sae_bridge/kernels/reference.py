"""The loops in plain torch, on any device; no m x n matrix is formed on a mask. See the package's docstring.

The others are tested against these. They store the (B, n) scores, and (B, k, d) or dense (B, k, m) products of columns.
"""

import torch
from torch import Tensor

_COLUMNS = 4096
"""Columns whose dense gradients are held at a time."""


def encode(
    x: Tensor, weight: Tensor, rows: Tensor | None, bias: Tensor, k: int, magnitude: bool = False
) -> tuple[Tensor, Tensor]:
    if rows is None:
        scores = torch.addmm(bias, x, weight.T)
    else:
        # One entry of every column at a time: a gathered column of x times a column of the weights.
        scores = bias.expand(x.shape[0], -1).clone()
        for i in range(rows.shape[1]):
            scores.addcmul_(x[:, rows[:, i]], weight[:, i])
    indices = (scores.abs() if magnitude else scores).topk(k, dim=1).indices
    return scores.gather(1, indices), indices


def combine(acts: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None, m: int) -> Tensor:
    atoms = acts[..., None] * weight[indices]
    if rows is None:
        return atoms.sum(dim=1)
    out = acts.new_zeros(acts.shape[0], m)
    return out.scatter_add_(1, rows[indices].flatten(1).long(), atoms.flatten(1))


def pull(g: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    return (_on_support(g, indices, rows) * weight[indices]).sum(dim=2)


def accumulate(acts: Tensor, indices: Tensor, g: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    parts = acts[..., None] * _on_support(g, indices, rows)
    return torch.zeros_like(weight).index_add_(0, indices.flatten(), parts.flatten(0, 1))


def missing(acts: Tensor, indices: Tensor, g: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    features, order = indices.flatten().sort(stable=True)
    values, tokens = acts.flatten()[order], order // indices.shape[1]
    found: list[tuple[Tensor, Tensor]] = []
    for first in range(0, len(rows), _COLUMNS):
        support = rows[first : first + _COLUMNS].long()
        ends = torch.tensor([first, first + len(support)], device=features.device)
        start, stop = torch.searchsorted(features, ends).tolist()
        gradient = g.new_zeros(len(support), g.shape[1])
        gradient.index_add_(0, features[start:stop] - first, values[start:stop, None] * g[tokens[start:stop]])
        best = gradient.abs().scatter_(1, support, -1).topk(count, dim=1).indices
        found.append((best, gradient.gather(1, best)))
    best, gained = zip(*found, strict=True)
    return torch.cat(best), torch.cat(gained)


def _on_support(g: Tensor, indices: Tensor, rows: Tensor | None) -> Tensor:
    """g at the rows of each chosen column: (B, k, d), or (B, 1, m) dense."""
    if rows is None:
        return g[:, None, :]
    batch, k = indices.shape
    return g.gather(1, rows[indices].flatten(1).long()).view(batch, k, -1)
