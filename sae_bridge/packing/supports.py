"""A mask's supports in few bits: nothing where its recipe draws it again, ranks of subsets, or indices.

A column is a d-subset c_1 < ... < c_d of m rows. Its rank in the combinatorial number system,

    C(c_1, 1) + C(c_2, 2) + ... + C(c_d, d),

runs through 0 .. C(m, d) - 1, so that ceil(log2 C(m, d)) bits say it: no code of independent uniform columns takes
fewer, whole bits aside. Indices take d ceil(log2 m): for m = 576, d = 8 that is 80 bits against 58.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sae_bridge.packing._bits import Words, bytes_of, numbers_of, packed_bits, unpacked_bits, words_of

Listed = Literal["ranks", "indices"]

_MOST_BINOMIALS = 1 << 18
"""Ranks need a table of m d binomials. Where it would be larger, columns have so many rows that indices are little
longer than ranks beside the values: they take at most ceil(log2 m) bits a value anyway."""


def listed_supports(m: int, d: int) -> tuple[Listed, int]:
    """How the supports of a mask are listed in the fewest bits, and the bits of a column."""
    indices = d * max(1, (m - 1).bit_length())
    if m * d > _MOST_BINOMIALS:
        return "indices", indices
    ranks = (math.comb(m, d) - 1).bit_length()
    return ("ranks", ranks) if ranks < indices else ("indices", indices)


def listed_bytes(m: int, n: int, d: int) -> int:
    """Bytes of the listed supports of n columns."""
    return bytes_of(n, listed_supports(m, d)[1])


def pack_supports(rows: NDArray[np.int32], m: int) -> NDArray[np.uint8]:
    """Supports (n, d), increasing in each row, as :func:`listed_supports` says."""
    d = rows.shape[1]
    kind, bits = listed_supports(m, d)
    if kind == "ranks":
        return packed_bits(_ranks(rows, m), bits)
    return packed_bits(words_of(rows.reshape(-1).astype(np.uint64)), bits // d)


def unpack_supports(packed: NDArray[np.uint8], m: int, n: int, d: int) -> NDArray[np.int32]:
    """What :func:`pack_supports` packed, (n, d).

    Raises:
        ValueError: another number of bytes, or a rank that no subset has.
    """
    kind, bits = listed_supports(m, d)
    if packed.shape != (bytes_of(n, bits),) or packed.dtype != np.uint8:
        raise ValueError(f"{packed.nbytes} bytes of supports ({packed.dtype}), expected {bytes_of(n, bits)} of uint8")
    if kind == "ranks":
        return _subsets(unpacked_bits(packed, n, bits), m, d)
    return numbers_of(unpacked_bits(packed, n * d, bits // d)).astype(np.int32).reshape(n, d)


def _fits(m: int, d: int) -> bool:
    """Whether every binomial of the table is a 64-bit number."""
    return math.comb(m, min(d, m // 2)) < 1 << 63


def _binomials(m: int, d: int) -> list[NDArray[np.uint64]]:
    """C(c, i) for i = 1..d, each for c = 0..m - 1."""
    column = np.ones(m, np.uint64)
    table = []
    for _ in range(d):
        column = np.concatenate([np.zeros(1, np.uint64), np.cumsum(column[:-1])])  # C(c, i) = sum_{b < c} C(b, i - 1)
        table.append(column)
    return table


def _long_binomials(m: int, d: int) -> list[list[int]]:
    column, table = [1] * m, []
    for _ in range(d):
        total, following = 0, []
        for value in column:
            following.append(total)
            total += value
        column = following
        table.append(column)
    return table


def _ranks(rows: NDArray[np.int32], m: int) -> Words:
    n, d = rows.shape
    if _fits(m, d):
        ranks = np.zeros(n, np.uint64)
        for i, binomials in enumerate(_binomials(m, d)):
            ranks += binomials[rows[:, i]]
        return words_of(ranks)
    table, size = _long_binomials(m, d), (math.comb(m, d).bit_length() + 7) // 8
    every = (sum(binomials[c] for binomials, c in zip(table, row, strict=True)) for row in rows.tolist())
    return np.frombuffer(b"".join(rank.to_bytes(size, "little") for rank in every), np.uint8).reshape(n, size)


def _subsets(words: Words, m: int, d: int) -> NDArray[np.int32]:
    rows = np.empty((len(words), d), np.int32)
    if _fits(m, d):
        left = numbers_of(words)
        _require_ranks(bool((left < math.comb(m, d)).all()), m, d)
        for i, binomials in reversed(list(enumerate(_binomials(m, d)))):
            rows[:, i] = np.searchsorted(binomials, left, side="right") - 1
            left = left - binomials[rows[:, i]]
        return rows
    table, total = _long_binomials(m, d), math.comb(m, d)
    for j, word in enumerate(words):
        rank = int.from_bytes(word.tobytes(), "little")
        _require_ranks(rank < total, m, d)
        for i in range(d - 1, -1, -1):
            rows[j, i] = c = bisect_right(table[i], rank) - 1
            rank -= table[i][c]
    return rows


def _require_ranks(sound: bool, m: int, d: int) -> None:
    if not sound:
        raise ValueError(f"a rank that no {d}-subset of {m} rows has")
