"""The loops for CUDA tensors: Triton where it is installed, :mod:`sae_bridge.kernels.reference` where it is not.

Triton serves float32, bfloat16 and float16, summing in float32; float64, and the product of a dense ``encode``, are
left to torch, whose ``topk`` promises no order among equal scores. Sums by atomics have no fixed order, so results of
``combine`` and ``accumulate`` can differ in the last bits from run to run. See the package's docstring.
"""

import importlib.util

import torch
from torch import Tensor

from sae_bridge.kernels import reference

if importlib.util.find_spec("triton") is None:
    _encode = _products = None
else:
    from sae_bridge.kernels import _triton_encode as _encode, _triton_products as _products

MOST = 1024
"""Largest k whose sort fits a program; beyond it torch's topk is used."""


def encode(
    x: Tensor, weight: Tensor, rows: Tensor | None, bias: Tensor, k: int, magnitude: bool = False
) -> tuple[Tensor, Tensor]:
    if _encode is None or rows is None or k > MOST or x.dtype == torch.float64:
        return reference.encode(x, weight, rows, bias, k, magnitude)
    return _encode.encode(x, weight, rows, bias, k, magnitude)


def combine(acts: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None, m: int) -> Tensor:
    return _loops(acts).combine(acts, indices, weight, rows, m)


def pull(g: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    return _loops(g).pull(g, indices, weight, rows)


def accumulate(acts: Tensor, indices: Tensor, g: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    return _loops(g).accumulate(acts, indices, g, weight, rows)


def missing(acts: Tensor, indices: Tensor, g: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return reference.missing(acts, indices, g, rows, count)


def _loops(tensor: Tensor):  # type: ignore[no-untyped-def]
    return reference if _products is None or tensor.dtype == torch.float64 else _products
