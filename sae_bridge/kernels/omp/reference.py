"""Selection step of OMP in plain torch, on any device: the atom of largest correlation, ties to the lowest index.

Residuals are columns, (m, B), so that a gathered row is one contiguous vector. Both functions return
(score (B,), atom (B,) int64), where score is max_j |w_j^T r| (``magnitude``) or max_j w_j^T r, over the atoms that
are not in ``chosen``, (t, B) int64 with -1 for "none". Scores are made and reduced a block of atoms at a time: the
(n, B) array is never stored. ``omp_triton.by_gather`` is :func:`by_gather` in one pass.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_BLOCK = {"cpu": 1 << 16, "cuda": 1 << 22}
"""Scores in a block: what stays in the cache (CPU: 256 kB of float32, CUDA: 16 MB)."""


def by_product(matrix: Tensor, residual: Tensor, chosen: Tensor, magnitude: bool) -> tuple[Tensor, Tensor]:
    """Scores by matrix product; ``matrix`` (n, m) holds the atoms as rows."""

    def fill(atoms: slice, scores: Tensor) -> None:
        torch.mm(matrix[atoms], residual, out=scores)

    return _largest(len(matrix), residual, chosen, magnitude, fill)


def by_gather(rows: Tensor, values: Tensor, residual: Tensor, chosen: Tensor, magnitude: bool) -> tuple[Tensor, Tensor]:
    """Scores from the d entries of each atom; ``rows`` (n, d) integer, ``values`` (n, d)."""

    def fill(atoms: slice, scores: Tensor) -> None:
        scores.zero_()
        for i in range(rows.shape[1]):
            scores.addcmul_(residual.index_select(0, rows[atoms, i]), values[atoms, i, None])

    return _largest(len(rows), residual, chosen, magnitude, fill)


def _largest(
    n: int, residual: Tensor, chosen: Tensor, magnitude: bool, fill: Callable[[slice, Tensor], None]
) -> tuple[Tensor, Tensor]:
    batch = residual.shape[1]
    size = min(n, max(1, _BLOCK["cuda" if residual.is_cuda else "cpu"] // batch))
    buffer = residual.new_empty(size + 1, batch)  # the last row takes the marks of atoms of other blocks
    places = torch.arange(size, dtype=torch.int32, device=residual.device)[:, None]
    best = residual.new_full((batch,), -math.inf)
    atom = torch.zeros(batch, dtype=torch.int64, device=residual.device)
    for first in range(0, n, size):
        width = min(size, n - first)
        scores = buffer[:width]
        fill(slice(first, first + width), scores)
        # Chosen atoms are out of the choice; marks for other blocks go to the row beyond.
        if magnitude:
            scores.abs_()
        local = chosen - first
        buffer.scatter_(0, torch.where((local >= 0) & (local < width), local, size), -math.inf)
        # The best of this block, the lowest among equals; an earlier block keeps what is not beaten.
        top = scores.amax(0)
        # Not argmax: which of several equal entries it returns is not defined.
        place = torch.where(scores == top, places[:width], width).amin(0)
        better = top > best
        best = torch.where(better, top, best)
        atom = torch.where(better, place + first, atom)
    return best, atom
