"""The loops of a TopK SAE, on a mask or dense.

Weights are (n, d) with ``rows`` (n, d) on a mask, (n, m) with ``rows = None`` dense: row j of the
weights is decoder column j. Codes are pairs (acts (B, k), indices (B, k)).

- ``encode(x, weight, rows, bias, k, magnitude)``: the k largest of W^T x + bias, by value or by magnitude, in
  decreasing order, and their indices;
- ``combine(acts, indices, weight, rows, m)``: sum_i acts[:, i] w_{indices[:, i]}, shape (B, m);
- ``pull(g, indices, weight, rows)``: <w_{indices[b, i]}, g_b>, shape (B, k);
- ``accumulate(acts, indices, g, weight, rows)``: gradient of <combine, g> in the weights;
- ``missing(acts, indices, g, rows, count)``: where a mask lacks most: for each column the ``count`` rows off its
  support on which the gradient of <combine, g>, sum_b acts g_b, is largest in magnitude, in decreasing order
  (n, count) int64, and that gradient (n, count); never as an m x n matrix. Zero where a column has no code.

``cpu`` (numba), ``cuda`` (Triton) and ``reference`` (plain torch, any device) hold the same functions.
"""

from types import ModuleType

import torch

from sae_bridge.kernels import cpu, cuda, reference


def backend(tensor: torch.Tensor) -> ModuleType:
    """The fastest module of loops for where ``tensor`` lies."""
    if tensor.device.type == "cuda":
        return cuda
    return cpu if tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64) else reference
