"""The loops in numba. Work is cut into pieces that do not depend on the number of threads, so
neither do the results. See the package's docstring.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sae_bridge.kernels import _cpu_loops as loops

_TOKENS = 128  # per piece: a multiple of the encoder's lanes
_PARTS = 4  # partial sums of the weight gradient


def encode(x: Tensor, weight: Tensor, rows: Tensor | None, bias: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if rows is None:
        return torch.addmm(bias, x, weight.T).topk(k, dim=1)
    acts = torch.empty(x.shape[0], k, dtype=x.dtype)
    indices = torch.empty(x.shape[0], k, dtype=torch.int64)
    tokens, w, r, b, out, chosen = _arrays(x, weight, rows, bias, acts, indices)
    _run(lambda s: loops.encode(tokens[s], w, r, b, out[s], chosen[s]), _pieces(len(tokens), _TOKENS))
    return acts, indices


def combine(acts: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None, m: int) -> Tensor:
    out = torch.zeros(acts.shape[0], m, dtype=acts.dtype)
    a, j, w, o = _arrays(acts, indices, weight, out)
    if rows is None:
        _run(lambda s: loops.combine_dense(a[s], j[s], w, o[s]), _pieces(len(a), _TOKENS))
    else:
        (r,) = _arrays(rows)
        _run(lambda s: loops.combine_masked(a[s], j[s], w, r, o[s]), _pieces(len(a), _TOKENS))
    return out


def pull(g: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    out = torch.empty(indices.shape, dtype=g.dtype)
    gradient, j, w, o = _arrays(g, indices, weight, out)
    if rows is None:
        _run(lambda s: loops.pull_dense(gradient[s], j[s], w, o[s]), _pieces(len(o), _TOKENS))
    else:
        (r,) = _arrays(rows)
        _run(lambda s: loops.pull_masked(gradient[s], j[s], w, r, o[s]), _pieces(len(o), _TOKENS))
    return out


def accumulate(acts: Tensor, indices: Tensor, g: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    a, j, gradient = _arrays(acts, indices, g)
    if rows is None:
        out = torch.zeros_like(weight)
        (o,) = _arrays(out)
        # Cut along m: each piece owns its slice of the result.
        width = -(-o.shape[1] // _PARTS)
        _run(lambda s: loops.accumulate_dense(a, j, gradient, s.start, o[:, s]), _pieces(o.shape[1], width))
        return out
    (r,) = _arrays(rows)
    parts = np.zeros((_PARTS, *weight.shape), dtype=gradient.dtype)
    size = max(1, -(-len(a) // _PARTS))
    _run(
        lambda s: loops.accumulate_masked(a[s], j[s], gradient[s], r, parts[s.start // size]),
        _pieces(len(a), size),
    )
    return torch.from_numpy(parts.sum(axis=0))


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _pieces(length: int, size: int) -> list[slice]:
    return [slice(first, min(length, first + size)) for first in range(0, length, size)]


def _run(work: Callable[[slice], None], pieces: Iterable[slice]) -> None:
    threads = torch.get_num_threads()
    if threads == 1:
        for piece in pieces:
            work(piece)
    else:
        list(_pool(threads).map(work, pieces))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="sae-kernel")
