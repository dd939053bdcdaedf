"""The loops over chosen features as Triton kernels: ``combine``, ``pull`` and ``accumulate``, on a mask and dense.

Sums are float32 whatever the type. On a mask ``combine`` and ``accumulate`` add by atomics, in no fixed order: two runs
can differ in the last bits. Dense sums, and those of ``pull``, have a fixed order. Zeros in acts are skipped.

A token costs k times the entries of a column, as on a CPU; the dense gradient sorts the codes by feature first.
"""

# Triton's decorated functions and launch options are unknown to a type checker:
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false, reportArgumentType=false

import torch
import triton  # type: ignore[import-not-found]
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

_TILE = 2048  # entries of a program on a mask
_COLUMNS = 512  # entries of a dense column in a program: of n = 16,384 columns they stay in L2
_WIDEST = 256  # entries of a masked column at a time


@triton.jit
def _chosen(indices, token, slot, k, inside):
    """Where the chosen columns are, as int64."""
    return tl.load(indices + token.to(tl.int64) * k + slot, mask=inside, other=0)


@triton.jit(do_not_specialize=["k"])
def _combine_masked(acts, indices, weight, rows, out, k, m, D: tl.constexpr, WIDE: tl.constexpr, SLOTS: tl.constexpr):
    # One token. A tile of its chosen columns by their entries is added to the rows that these meet.
    token = tl.program_id(0).to(tl.int64)
    for start in range(0, k, SLOTS):
        slot = start + tl.arange(0, SLOTS)
        act = tl.load(acts + token * k + slot, mask=slot < k, other=0.0).to(tl.float32)
        entry = _chosen(indices, token, slot, k, act != 0) * D
        for first in range(0, D, WIDE):
            i = first + tl.arange(0, WIDE)
            used = (act != 0)[:, None] & (i < D)[None, :]
            place = entry[:, None] + i[None, :]
            value = tl.load(weight + place, mask=used, other=0.0).to(tl.float32)
            row = tl.load(rows + place, mask=used, other=0)
            tl.atomic_add(out + token * m + row, act[:, None] * value, mask=used, sem="relaxed")


@triton.jit(do_not_specialize=["k"])
def _accumulate_masked(acts, indices, g, rows, out, k, m, D: tl.constexpr, WIDE: tl.constexpr, SLOTS: tl.constexpr):
    # One token. A tile of g at the rows that its chosen columns meet, times acts, is added to their gradients.
    token = tl.program_id(0).to(tl.int64)
    for start in range(0, k, SLOTS):
        slot = start + tl.arange(0, SLOTS)
        act = tl.load(acts + token * k + slot, mask=slot < k, other=0.0).to(tl.float32)
        entry = _chosen(indices, token, slot, k, act != 0) * D
        for first in range(0, D, WIDE):
            i = first + tl.arange(0, WIDE)
            used = (act != 0)[:, None] & (i < D)[None, :]
            place = entry[:, None] + i[None, :]
            row = tl.load(rows + place, mask=used, other=0)
            piece = tl.load(g + token * m + row, mask=used, other=0.0).to(tl.float32)
            tl.atomic_add(out + place, act[:, None] * piece, mask=used, sem="relaxed")


@triton.jit(do_not_specialize=["k"])
def _pull(
    g,
    indices,
    weight,
    rows,
    out,
    k,
    m,
    D: tl.constexpr,
    WIDE: tl.constexpr,
    SLOTS: tl.constexpr,
    MASKED: tl.constexpr,
):
    # Some chosen columns of one token; dense, entry i of a column meets row i.
    token = tl.program_id(0).to(tl.int64)
    slot = tl.program_id(1) * SLOTS + tl.arange(0, SLOTS)
    entry = _chosen(indices, token, slot, k, slot < k) * D
    total = tl.zeros((SLOTS,), tl.float32)
    for first in range(0, D, WIDE):
        i = first + tl.arange(0, WIDE)[None, :]
        used = (slot < k)[:, None] & (i < D)
        place = entry[:, None] + i
        value = tl.load(weight + place, mask=used, other=0.0).to(tl.float32)
        row = tl.load(rows + place, mask=used, other=0) if MASKED else i
        total += tl.sum(value * tl.load(g + token * m + row, mask=used, other=0.0).to(tl.float32), axis=1)
    tl.store(out + token * k + slot, total.to(out.dtype.element_ty), mask=slot < k)


@triton.jit(do_not_specialize=["k"])
def _combine_dense(acts, indices, weight, out, k, m, COLUMNS: tl.constexpr):
    # A piece of one token's output, slot by slot: the order of the sum is fixed.
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), tl.float32)
    for slot in range(k):
        act = tl.load(acts + token * k + slot).to(tl.float32)
        if act != 0:
            place = tl.load(indices + token * k + slot) * m + column
            total += act * tl.load(weight + place, mask=column < m, other=0.0).to(tl.float32)
    tl.store(out + token * m + column, total.to(out.dtype.element_ty), mask=column < m)


@triton.jit(do_not_specialize=["k"])
def _accumulate_dense(acts, order, ends, g, out, k, m, COLUMNS: tl.constexpr):
    """One feature: ``order[ends[j] : ends[j + 1]]`` are the places of feature j in ``acts``."""
    feature = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), tl.float32)
    for at in range(tl.load(ends + feature), tl.load(ends + feature + 1)):
        place = tl.load(order + at)
        piece = tl.load(g + (place // k) * m + column, mask=column < m, other=0.0).to(tl.float32)
        total += tl.load(acts + place).to(tl.float32) * piece
    tl.store(out + feature * m + column, total.to(out.dtype.element_ty), mask=column < m)


def combine(acts: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None, m: int) -> Tensor:
    batch, k = acts.shape
    a, j, w = acts.contiguous(), indices.contiguous(), weight.contiguous()
    if rows is None:
        out = acts.new_empty(batch, m)
        blocks = triton.cdiv(m, _COLUMNS)
        _launch(_combine_dense, (batch, blocks), a, j, w, out, k, m, COLUMNS=_COLUMNS)
        return out
    total = torch.zeros(batch, m, dtype=torch.float32, device=acts.device)
    _launch(_combine_masked, (batch,), a, j, w, rows.contiguous(), total, k, m, **_tile(k, w))
    return total.to(acts.dtype)


def pull(g: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    (batch, k), w = indices.shape, weight.contiguous()
    out = g.new_empty(batch, k)
    tile = _tile(k, w)
    # Dense, no rows are read: any pointer will do.
    where = w if rows is None else rows.contiguous()
    arguments = (g.contiguous(), indices.contiguous(), w, where, out, k, g.shape[1])
    _launch(_pull, (batch, triton.cdiv(k, tile["SLOTS"])), *arguments, MASKED=rows is not None, **tile)
    return out


def accumulate(acts: Tensor, indices: Tensor, g: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    (batch, k), m, n = acts.shape, g.shape[1], len(weight)
    a, j, gradient = acts.contiguous(), indices.contiguous(), g.contiguous()
    if rows is None:
        out = torch.empty(n, m, dtype=weight.dtype, device=weight.device)
        # Padding is sorted behind the last feature, where no program looks.
        feature, order = torch.where(a == 0, n, j).flatten().sort(stable=True)
        ends = torch.searchsorted(feature, torch.arange(n + 1, device=feature.device))
        _launch(_accumulate_dense, (n, triton.cdiv(m, _COLUMNS)), a, order, ends, gradient, out, k, m, COLUMNS=_COLUMNS)
        return out
    total = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
    _launch(_accumulate_masked, (batch,), a, j, gradient, rows.contiguous(), total, k, m, **_tile(k, weight))
    return total.to(weight.dtype)


def _tile(k: int, weight: Tensor) -> dict[str, int]:
    entries = weight.shape[1]
    wide = min(_WIDEST, triton.next_power_of_2(entries))
    return {"D": entries, "WIDE": wide, "SLOTS": min(triton.next_power_of_2(k), _TILE // wide)}


def _launch(kernel, grid: tuple[int, ...], *arguments: object, **options: object) -> None:  # type: ignore[no-untyped-def]
    tensor = arguments[0]
    assert isinstance(tensor, Tensor)
    if 0 in grid:
        return  # no tokens
    with torch.cuda.device_of(tensor):  # Triton launches on the current device
        kernel[grid](*arguments, enable_fp_fusion=True, **options)
