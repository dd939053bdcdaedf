"""Numbers of any width in bits, one after the other without gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint8]
"""Unsigned numbers as little-endian bytes, (count, bytes a number)."""


def bytes_of(count: int, bits: int) -> int:
    """Bytes that ``count`` numbers of so many bits take."""
    return -(-count * bits // 8)


def packed_bits(words: Words, bits: int) -> NDArray[np.uint8]:
    """The lowest ``bits`` bits of every number, the first bit in the lowest place of the first byte.

    Args:
        words: (count, B), numbers below 2^bits.
        bits: 0 <= bits <= 8 B.
    """
    return np.packbits(np.unpackbits(words, axis=1, bitorder="little")[:, :bits], bitorder="little")


def unpacked_bits(packed: NDArray[np.uint8], count: int, bits: int) -> Words:
    """What :func:`packed_bits` packed, (count, ceil(bits / 8)); ``packed`` has :func:`bytes_of` bytes."""
    if bits == 0:
        return np.zeros((count, 0), np.uint8)
    flat = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(flat, axis=1, bitorder="little")


def words_of(numbers: NDArray[np.uint64]) -> Words:
    """Numbers below 2^64 as eight bytes each."""
    return numbers.astype("<u8").view(np.uint8).reshape(len(numbers), 8)


def numbers_of(words: Words) -> NDArray[np.uint64]:
    """Numbers of at most eight bytes."""
    wide = np.zeros((len(words), 8), np.uint8)
    wide[:, : words.shape[1]] = words
    return wide.reshape(-1).view("<u8").astype(np.uint64)
