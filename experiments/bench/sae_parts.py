"""The time of each part of our training step beside the time in which its bytes could be moved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.bench.machine import Rates
from experiments.bench.sae_peers import Ours, Size
from sae_bridge import kernels

TILE_BYTES = 64
"""The encoder reads, for every entry of the mask, one line of a tile of tokens: m lines, held in the cache."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: of the part.
        seconds: measured, the least of a few.
        streamed: bytes that have to come from or go to memory once.
        gathered: bytes that are read or written at places that the mask or the code gives.
        among: bytes of the array that those places lie in: which cache it is.
        limit: seconds in which both could be moved, one after the other.
    """

    name: str
    seconds: float
    streamed: float
    gathered: float
    among: float
    limit: float


def stream_rate() -> float:
    """Bytes/s of ``y += x`` over arrays that no cache holds: two are read, one is written."""
    x, y = torch.ones(1 << 26), torch.ones(1 << 26)
    return 3 * x.nbytes / _least(lambda: y.add_(x))


def parts(size: Size, ours: Ours, x: Tensor, rates: Rates) -> Iterator[Part]:
    """Every part of a step; the last is what is left of the whole."""
    threads = torch.get_num_threads()
    stream = stream_rate()
    sae = ours.training_run.sae
    weight, bias, rows = sae.weight.detach(), sae.b_enc.detach(), sae.rows
    assert rows is not None
    loops, (batch, m), k = kernels.backend(x), x.shape, sae.k
    acts, indices = loops.encode(x, weight, rows, bias, k)
    tokens, code = x.nbytes, acts.nbytes + indices.nbytes
    table, entries = weight.nbytes + rows.nbytes, batch * k * size.d
    chosen = entries * (weight.itemsize + rows.itemsize)

    def part(name: str, work: Callable[[], object], streamed: float, gathered: float, among: float) -> Part:
        limit = streamed / stream + rates.read_seconds(gathered, among) / threads
        return Part(name, _least(work), streamed, gathered, among, limit)

    lines = -(-batch * x.itemsize // TILE_BYTES) * size.n * size.d * TILE_BYTES
    moved, decoding = tokens + code, (lambda: loops.combine(acts, indices, weight, rows, m))
    found = [
        part("encode", lambda: loops.encode(x, weight, rows, bias, k), moved, lines, m * TILE_BYTES),
        part("decode", decoding, moved, chosen, table),
        part("gradient of the codes", lambda: loops.pull(x, indices, weight, rows), moved, chosen, table),
        part("gradient of W, decoder", lambda: loops.accumulate(acts, indices, x, weight, rows), moved, chosen, table),
        part("gradient of W, encoder", lambda: loops.accumulate(acts, indices, x, weight, rows), moved, chosen, table),
        part("gradient of b_dec", decoding, moved, chosen, table),
        part("Adam on W", lambda: _adam(ours), 7 * weight.nbytes, 0, 1),
    ]
    yield from found
    whole = _least(lambda: ours.step(x))
    rest = whole - sum(one.seconds for one in found)
    # s h - b_dec, the residual, its square, and their gradients: at least eight passes over (B, m).
    yield Part("rest: residual, loss, norms, counts", rest, 8 * tokens, 0, 1, 8 * tokens / stream)


def _adam(ours: Ours) -> None:
    parameter = torch.nn.Parameter(ours.training_run.sae.weight.detach().clone())
    parameter.grad = torch.ones_like(parameter)
    torch.optim.Adam([parameter], fused=True).step()


def _least(work: Callable[[], object], repeats: int = 5) -> float:
    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)
