"""Scores of a mask and the k largest of them per token as one Triton kernel, which never holds a (B, n) matrix.

A program takes a few tokens and passes over blocks of features. A score and its feature are one int64 key, so that no
two keys are equal. With (B, n) scores out of the question and a sort of every block dearer than the scores, it goes:

1. over every SKIP-th block: the largest key of each residue of the feature modulo GROUPS. The k-th largest of these
   maxima is a floor: k keys at least reach it, and few more do (of GROUPS = 4 k, about 1.15 SKIP k);
2. over all blocks: keys that reach the floor are put into the token's ROOM places, which are then sorted.

Where a token has more than ROOM of them, the k-th largest of those stored is a higher floor, and 2 is done again; at
least ROOM - k keys fall away each time. A pass costs n d gathered multiply-adds a token; that of 1 the SKIP-th part.
"""

# Triton's decorated functions and launch options are unknown to a type checker:
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false

import torch
import triton  # type: ignore[import-not-found]
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

_NONE = tl.constexpr(-(1 << 63))  # below every key
_LAST = tl.constexpr((1 << 31) - 1)
_LEAST = 16  # a sort of fewer places saves nothing
_TOKENS = 16  # tiles of 2,048 rows, 128 KB, stay in the first cache
_PLACES = 4096  # of all tokens of a program
_WARPS = 8


@triton.jit
def _pack(score, feature, MAGNITUDE: tl.constexpr):
    """From the highest bit: the order of floats as integers, NaN above all; the feature, reversed; the lost sign."""
    size = tl.abs(score) if MAGNITUDE else score
    bits = tl.where(size == 0, 0.0, size).to(tl.int32, bitcast=True)
    order = tl.where(score != score, _LAST, bits ^ ((bits >> 31) & _LAST))
    sign = tl.where(MAGNITUDE & (score < 0), 1, 0)
    return (order.to(tl.int64) << 32) | ((feature ^ _LAST).to(tl.int64) << 1) | sign


@triton.jit
def _keys(
    x,
    weight,
    rows,
    bias,
    first,
    n,
    D: tl.constexpr,
    TOKENS: tl.constexpr,
    GROUPS: tl.constexpr,
    MAGNITUDE: tl.constexpr,
):
    """Keys (TOKENS, GROUPS) of the features from ``first`` on; ``x`` is (m, TOKENS)."""
    # The score of every token and feature: the bias, and d gathered rows of x. Padding features are below every key.
    lane = tl.arange(0, TOKENS)
    feature = first + tl.arange(0, GROUPS)
    real = feature < n
    entry = feature.to(tl.int64) * D
    score = tl.zeros((TOKENS, GROUPS), tl.float32) + tl.load(bias + feature, mask=real, other=0.0).to(tl.float32)
    for i in range(D):
        row = tl.load(rows + entry + i, mask=real, other=0) * TOKENS
        value = tl.load(weight + entry + i, mask=real, other=0.0).to(tl.float32)
        score += value[None, :] * tl.load(x + (row[None, :] + lane[:, None])).to(tl.float32)
    return tl.where(real[None, :], _pack(score, feature[None, :], MAGNITUDE), _NONE)


@triton.jit
def _kth(ordered, k, WIDTH: tl.constexpr):
    """The k-th key of a list in decreasing order: a mask and a maximum, since registers have no index."""
    place = tl.arange(0, WIDTH)[None, :]
    return tl.max(tl.where(place == k - 1, ordered, _NONE), axis=1)


@triton.jit(do_not_specialize=["k"])
def _encode(
    x,
    weight,
    rows,
    bias,
    places,
    acts,
    indices,
    m,
    n,
    batch,
    k,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    TOKENS: tl.constexpr,
    GROUPS: tl.constexpr,
    SKIP: tl.constexpr,
    ROOM: tl.constexpr,
    MAGNITUDE: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    token = program * TOKENS + tl.arange(0, TOKENS)
    tokens = x + program * m * TOKENS
    # 1. The largest key of each residue, over every SKIP-th block; its k-th largest is the floor.
    top = tl.full((TOKENS, GROUPS), _NONE, tl.int64)
    for first in range(0, n, GROUPS * SKIP):
        top = tl.maximum(top, _keys(tokens, weight, rows, bias, first, n, D, TOKENS, GROUPS, MAGNITUDE))
    floor = _kth(tl.topk(top, WIDTH), k, WIDTH)

    # 2. Over all blocks, until no token of the program has more keys than places.
    place = places + token[:, None] * ROOM
    best = tl.full((TOKENS, WIDTH), _NONE, tl.int64)
    most = ROOM + 1
    while most > ROOM:
        count = tl.zeros((TOKENS,), tl.int32)
        for first in range(0, n, GROUPS):
            keys = _keys(tokens, weight, rows, bias, first, n, D, TOKENS, GROUPS, MAGNITUDE)
            # Keys that reach the floor go to the next free places, in order of the feature.
            reach = (keys >= floor[:, None]).to(tl.int32)
            free = count[:, None] + tl.cumsum(reach, axis=1) - 1
            tl.store(place + free, keys, mask=(reach == 1) & (free < ROOM))
            count += tl.sum(reach, axis=1)
        tl.debug_barrier()  # what other threads stored is read
        # Sort them; where some had no place, the k-th largest is a higher floor for the next round.
        lane = tl.arange(0, ROOM)[None, :]
        best = tl.topk(tl.load(place + lane, mask=lane < count[:, None], other=_NONE), WIDTH)
        floor = _kth(best, k, WIDTH)
        most = tl.max(count, axis=0)
        tl.debug_barrier()  # and is not overwritten before

    # Unpack: the score from its order and lost sign, the feature from its reverse.
    order = (best >> 32).to(tl.int32)
    size = (order ^ ((order >> 31) & _LAST)).to(tl.float32, bitcast=True)
    score = tl.where((best & 1) == 1, -size, size) if MAGNITUDE else size
    slot = tl.arange(0, WIDTH)[None, :]
    target = token[:, None] * k + slot
    inside = (token < batch)[:, None] & (slot < k)
    tl.store(acts + target, score.to(acts.dtype.element_ty), mask=inside)
    tl.store(indices + target, ((best >> 1) & _LAST) ^ _LAST, mask=inside)


def sizes(k: int) -> dict[str, int]:
    """Tile sizes for k. Large k sorts fewer places, for which it passes over all blocks twice."""
    width = max(_LEAST, triton.next_power_of_2(k))
    factor, skip, room = (4, 4, 8 * width) if width <= 128 else (2, 1, 2 * width)
    tokens = max(1, min(_TOKENS, _PLACES // room))
    return {"WIDTH": width, "TOKENS": tokens, "GROUPS": factor * width, "SKIP": skip, "ROOM": room}


def encode(
    x: Tensor, weight: Tensor, rows: Tensor, bias: Tensor, k: int, magnitude: bool = False
) -> tuple[Tensor, Tensor]:
    """float32, bfloat16 or float16; sums and comparisons are float32, ties go to the lower index."""
    (batch, m), (n, d) = x.shape, weight.shape
    tile = sizes(k)
    programs = triton.cdiv(batch, tile["TOKENS"])
    padded = torch.nn.functional.pad(x, (0, 0, 0, programs * tile["TOKENS"] - batch))
    # A program's tokens lie together, the fastest axis first: a gathered row is one wide load.
    x = padded.view(programs, tile["TOKENS"], m).transpose(1, 2).contiguous()
    places = torch.empty(len(padded), tile["ROOM"], dtype=torch.int64, device=x.device)
    acts = x.new_empty(batch, k)
    indices = torch.empty(batch, k, dtype=torch.int64, device=x.device)
    if batch:
        with torch.cuda.device_of(x):  # Triton launches on the current device
            _encode[(programs,)](  # type: ignore[index]
                x,
                weight.contiguous(),
                rows.contiguous(),
                bias.contiguous(),
                places,
                acts,
                indices,
                m,
                n,
                batch,
                k,
                D=d,
                MAGNITUDE=magnitude,
                **tile,
                num_warps=_WARPS,
                enable_fp_fusion=True,  # one rounding a term, as in the compiled loops on a CPU
            )
    return acts, indices
