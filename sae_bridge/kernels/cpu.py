"""The loops in numba. What each token or partial sum is does not depend on the number of threads, so neither do the
results; only the matrix products of dense SAEs (in ``encode``, and where k is not small against n) are torch's. See the
package's docstring.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from expander_theory._kernels.linear.vectors import aligned
from expander_theory.base import InvalidArgument
from sae_bridge.kernels import _cpu_loops as loops
from sae_bridge.kernels._cpu_encode import BLOCK, encode_masked, largest
from sae_bridge.kernels._cpu_shortlists import room_for
from sae_bridge.kernels._cpu_vectors import lanes_of
from sae_bridge.kernels.checks import require_features, require_rows

_SCORES = 1 << 23  # of a dense encoder, held at a time
_MOST_PARTS = 8  # partial sums of the weight gradient
_FULL = 8  # codes with more than a nonzero in so many features are multiplied as full matrices where dense


def encode(
    x: Tensor, weight: Tensor, rows: Tensor | None, bias: Tensor, k: int, magnitude: bool = False
) -> tuple[Tensor, Tensor]:
    acts = torch.empty(x.shape[0], k, dtype=x.dtype)
    indices = torch.empty(x.shape[0], k, dtype=torch.int64)
    out, chosen = acts.numpy(), indices.numpy()
    integer = np.dtype(f"i{out.itemsize}")
    lanes = lanes_of(out.dtype)
    if rows is None:
        x, weight, bias = x.detach(), weight.detach(), bias.detach()
        size = max(1, _SCORES // len(weight))
        buffer = x.new_empty(min(size, len(x)), len(weight))
        for block in _pieces(len(x), size):
            scores = torch.addmm(bias, x[block], weight.T, out=buffer[: block.stop - block.start]).numpy()
            a, j = out[block], chosen[block]

            def select(s: slice, scores: np.ndarray = scores, a: np.ndarray = a, j: np.ndarray = j) -> None:
                largest(scores[s], k, magnitude, np.empty((1, room_for(k)), integer), a[s], j[s])

            _run(select, _shares(len(scores), 1))
        return acts, indices
    tokens, w, b = _arrays(x, weight, bias)
    r = _checked_rows(rows, x.shape[1])

    def work(s: slice) -> None:
        tile = aligned((x.shape[1] + BLOCK + 2, lanes), out.dtype)
        keys = np.empty((lanes, room_for(k)), integer)
        encode_masked(tokens[s], w, r, b, k, magnitude, tile, keys, out[s], chosen[s])

    _run(work, _shares(len(tokens), lanes))
    return acts, indices


def combine(acts: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None, m: int) -> Tensor:
    j = _checked(indices, weight, acts)
    if rows is None and _is_full(indices, weight):
        return _matrix(acts, indices, weight) @ weight.detach()
    out = torch.empty(acts.shape[0], m, dtype=acts.dtype)
    a, w, o = _arrays(acts, weight, out)
    if rows is None:
        _run(lambda s: loops.combine_dense(a[s], j[s], w, o[s]), _shares(len(a), 1))
    else:
        r = _checked_rows(rows, m)
        _run(lambda s: loops.combine_masked(a[s], j[s], w, r, o[s]), _shares(len(a), 1))
    return out


def pull(g: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    j = _checked(indices, weight)
    if rows is None and _is_full(indices, weight):
        return (g.detach() @ weight.detach().T).gather(1, indices)
    out = torch.empty(indices.shape, dtype=g.dtype)
    gradient, w, o = _arrays(g, weight, out)
    if rows is None:
        _run(lambda s: loops.pull_dense(gradient[s], j[s], w, o[s]), _shares(len(o), 1))
    else:
        r = _checked_rows(rows, g.shape[1])
        _run(lambda s: loops.pull_masked(gradient[s], j[s], w, r, o[s]), _shares(len(o), 1))
    return out


def accumulate(acts: Tensor, indices: Tensor, g: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    j = _checked(indices, weight, acts)
    if rows is None and _is_full(indices, weight):
        return _matrix(acts, indices, weight).T @ g.detach()
    a, gradient = _arrays(acts, g)
    if rows is None:
        out = torch.zeros(weight.shape, dtype=g.dtype)
        o = out.numpy()
        # Cut along m: each piece owns its slice of the result.
        width = max(1, -(-o.shape[1] // (2 * torch.get_num_threads())))
        _run(lambda s: loops.accumulate_dense(a, j, gradient, s.start, s.stop, o), _pieces(o.shape[1], width))
        return out
    r = _checked_rows(rows, g.shape[1])
    # No more partial sums than make them as large as the work, whatever the number of threads.
    count = max(1, min(_MOST_PARTS, a.size // len(weight)))
    parts = torch.zeros(count, *weight.shape, dtype=g.dtype)
    p = parts.numpy()
    size = max(1, -(-len(a) // count))
    _run(lambda s: loops.accumulate_masked(a[s], j[s], gradient[s], r, p[s.start // size]), _pieces(len(a), size))
    out = parts[0]
    for part in parts[1:]:
        out += part
    return out


def missing(acts: Tensor, indices: Tensor, g: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    _checked(indices, rows, acts)
    features = indices.flatten().numpy()
    order = np.argsort(features, kind="stable")
    starts = np.searchsorted(features[order], np.arange(len(rows) + 1))
    best = torch.empty(len(rows), count, dtype=torch.int64)
    gained = torch.empty(len(rows), count, dtype=g.dtype)
    a, gradient = _arrays(acts, g)
    r, b, o = _checked_rows(rows, g.shape[1]), best.numpy(), gained.numpy()

    def work(s: slice) -> None:
        column = np.empty(g.shape[1], gradient.dtype)
        loops.missing(a, order, starts[s.start : s.stop + 1], gradient, r[s], column, b[s], o[s])

    _run(work, _shares(len(rows), 1))
    return best, gained


def _is_full(indices: Tensor, weight: Tensor) -> bool:
    return _FULL * indices.shape[1] >= len(weight)


def _matrix(acts: Tensor, indices: Tensor, weight: Tensor) -> Tensor:
    """The codes as a matrix (B, n)."""
    return acts.new_zeros(len(acts), len(weight)).scatter_add_(1, indices, acts.detach())


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _checked(indices: Tensor, weight: Tensor, acts: Tensor | None = None) -> np.ndarray:
    """The features as the loops take them, which believe every index; one pass, beside d for the work itself."""
    if indices.dtype != torch.int64 or (acts is not None and acts.shape != indices.shape):
        found = f"{indices.dtype} of shape {tuple(indices.shape)}"
        raise InvalidArgument("indices", found, "must be int64, of the shape (B, k) of acts")
    unsigned = indices.contiguous().numpy().view(np.uint64)
    if unsigned.size and unsigned.max() >= len(weight):  # a negative index is a huge unsigned one
        require_features(indices, len(weight))
    return unsigned


def _checked_rows(rows: Tensor, m: int) -> np.ndarray:
    """The rows of the mask as the loops take them; one pass of n d, beside that for every token of the encoder."""
    if rows.dtype != torch.int32:
        require_rows(rows, m)  # before a cast wraps them
        rows = rows.to(torch.int32)
    unsigned = rows.contiguous().numpy().view(np.uint32)
    if unsigned.size and unsigned.max() >= m:
        require_rows(rows, m)
    return unsigned


def _pieces(length: int, size: int) -> list[slice]:
    return [slice(first, min(length, first + size)) for first in range(0, length, size)]


def _shares(length: int, multiple: int) -> list[slice]:
    """Four pieces a thread, so that a slow one does not keep the others waiting."""
    share = -(-length // (4 * torch.get_num_threads()))
    return _pieces(length, max(1, -(-share // multiple)) * multiple)


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
