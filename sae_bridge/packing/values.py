"""Matrices of decoder and encoder values in few bits.

Rows of a matrix are the stored values of one column w of the decoder, which is a unit vector, or of one row of an
encoder, which is not. In b bits (``int8`` ... ``int2``) a row is an integer vector q with |q_i| <= 2^(b-1) - 1 that
minimises

    min_s ||w - s q||,

that is, the vector of that box nearest to w in direction: large entries are clipped where that makes the error less.
The scale needs no storage where w is a unit vector: what is read back is q / ||q||. A row of an encoder has its norm
beside q, in bfloat16. In ``bfloat16`` entries are rounded to nearest even; columns are made unit again on reading.
``float32`` changes nothing.

So what is read back is not always what has been rounded, and rounding it once more might give something else. What is
stored is therefore a row on which rounding and reading have settled: packing what was read gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import require_choice
from sae_bridge.packing._bits import bytes_of, packed_bits, unpacked_bits

Values = Literal["float32", "bfloat16", "int8", "int4", "int3", "int2"]
VALUES: tuple[Values, ...] = get_args(Values)
VALUE_BITS: dict[Values, int] = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4, "int3": 3, "int2": 2}
"""Bits of a decoder value, by format."""

Array = NDArray[Any]
_CHUNK = 1 << 18  # entries that are rounded at once
_ROUNDS = 8


def is_integer(values: Values) -> bool:
    """Whether a format is one of the integer ones, whose rows have no scale of their own."""
    return values.startswith("int")


def to_bfloat16(values: Array) -> NDArray[np.uint16]:
    """The bits of the nearest bfloat16 numbers, ties to even, of finite numbers."""
    wide = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((wide + 0x7FFF + ((wide >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Numbers of these bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def pack_rows(matrix: Array, values: Values, *, unit: bool) -> dict[str, Array]:
    """Rows (count, length) in a format: "" are the values, "norms" bfloat16 norms of rows that are not unit.

    Args:
        matrix: finite.
        unit: whether its rows are unit vectors, and shall be so when they are read.

    Raises:
        InvalidArgument: no such format.
    """
    require_choice("values", values, VALUES)
    if values == "float32":
        return {"": matrix.astype(np.float32)}
    if values == "bfloat16":
        return {"": _settled(_rounded, _unit, matrix) if unit else to_bfloat16(matrix)}
    most = (1 << (VALUE_BITS[values] - 1)) - 1
    codes = _settled(lambda rows: directions(rows, most), _unit_of_integers, matrix)
    packed = codes if values == "int8" else _packed_integers(codes, VALUE_BITS[values])
    if unit:
        return {"": packed}
    along = (matrix.astype(np.float64) * _directions_of(codes)).sum(axis=1)
    return {"": packed, "norms": to_bfloat16(along)}


def unpack_rows(packed: dict[str, Array], values: Values, shape: tuple[int, int], *, unit: bool) -> NDArray[np.float32]:
    """What :func:`pack_rows` packed, float32.

    Raises:
        ValueError: arrays that are not those of this shape and format, or a unit row of zeros.
    """
    stored = packed[""]
    wanted = _stored_as(values, shape)
    if (stored.dtype, stored.shape) != wanted:
        raise ValueError(f"values of {stored.dtype} and shape {stored.shape}, expected {wanted[0]} and {wanted[1]}")
    if values == "float32":
        return stored
    if values == "bfloat16":
        rows = from_bfloat16(stored)
        if unit and not (np.isfinite(rows).all() and rows.any(axis=1).all()):
            raise ValueError("a column that is no unit vector")
        return _unit(stored) if unit else rows
    codes = stored if values == "int8" else _unpacked_integers(stored, shape, VALUE_BITS[values])
    most = (1 << (VALUE_BITS[values] - 1)) - 1
    if codes.size and int(np.abs(codes.astype(np.int16)).max()) > most:
        raise ValueError(f"an integer beyond -{most}..{most}")
    if unit:
        if not codes.any(axis=1).all():
            raise ValueError("a column that is no unit vector")
        return _unit_of_integers(codes)
    norms = packed.get("norms", np.zeros(0, np.uint16))
    if norms.dtype != np.uint16 or norms.shape != shape[:1]:
        raise ValueError(f"norms of {norms.dtype} and shape {norms.shape}, expected uint16 and {shape[:1]}")
    return (from_bfloat16(norms)[:, None] * _directions_of(codes)).astype(np.float32)


def row_bytes(values: Values, shape: tuple[int, int], *, unit: bool) -> int:
    """Bytes of such a matrix."""
    norms = 2 * shape[0] if is_integer(values) and not unit else 0
    return bytes_of(shape[0] * shape[1], VALUE_BITS[values]) + norms


def directions(rows: Array, most: int) -> NDArray[np.int8]:
    """Integer vectors of entries -most..most, near to the rows in direction; see the module. Zero rows stay zero.

    Scales are tried at max |w| = t s for t = 1..most and on a grid around, then s and q fitted in turn, which only
    lowers the error. A common divisor is taken out.
    """
    grid = np.unique(np.concatenate([np.arange(1.0, most + 1), most * np.linspace(0.5, 4, 113)]))
    out = np.zeros(rows.shape, np.int8)
    step = max(1, _CHUNK // rows.shape[1])
    for first in range(0, len(rows), step):
        chunk = rows[first : first + step].astype(np.float64)
        out[first : first + step] = np.sign(chunk) * _nearest(np.abs(chunk), grid, most)
    return out


def _nearest(size: NDArray[np.float64], grid: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """:func:`directions` of non-negative rows."""
    top = size.max(axis=1, keepdims=True)
    scaled = np.divide(size, top, out=np.zeros_like(size), where=top > 0)
    best, chosen = np.full(len(size), -1.0), np.zeros_like(size)

    def consider(q: NDArray[np.float64]) -> None:
        squares = (q * q).sum(axis=1)
        along = (q * scaled).sum(axis=1)
        score = along * along / np.where(squares > 0, squares, 1.0)  # ||w||^2 cos^2
        better = score > best
        best[better] = score[better]
        chosen[better] = q[better]

    for t in grid:
        consider(np.minimum(np.floor(scaled * t + 0.5), most))
    for _ in range(3):
        squares, along = (chosen * chosen).sum(axis=1), (chosen * scaled).sum(axis=1)
        inverse = np.divide(squares, along, out=np.zeros_like(along), where=along > 0)
        consider(np.minimum(np.floor(scaled * inverse[:, None] + 0.5), most))
    divisor = np.gcd.reduce(chosen.astype(np.int64), axis=1, keepdims=True)
    return chosen / np.maximum(divisor, 1)


def _directions_of(codes: NDArray[np.int8]) -> NDArray[np.float64]:
    wide = codes.astype(np.float64)
    norms = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return wide / np.where(norms > 0, norms, 1.0)


def _unit_of_integers(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    return _directions_of(codes).astype(np.float32)


def _rounded(rows: Array) -> NDArray[np.uint16]:
    return to_bfloat16(rows)


def _unit(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    wide = from_bfloat16(bits).astype(np.float64)
    norms = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return (wide / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _settled(encode: Callable[[Array], Array], decode: Callable[[Array], Array], rows: Array) -> Array:
    """Codes of rows (one each) that stay the same when they are read and rounded again.

    Reading and rounding in turn ends in a cycle, as there are finitely many codes: nearly always in one of length 1.
    Of a longer one the least member is taken, from which the same cycle is found again.
    """
    codes = encode(rows)
    moving = np.arange(len(codes))
    for _ in range(_ROUNDS):
        again = encode(decode(codes[moving]))
        moved = (again != codes[moving]).any(axis=1)
        codes[moving] = again
        moving = moving[moved]
        if not moving.size:
            return codes
    for j in moving:
        one, orbit = codes[j : j + 1], {}
        while (key := one.tobytes()) not in orbit:
            orbit[key] = len(orbit)
            one = encode(decode(one))
        cycle = [member for member, at in orbit.items() if at >= orbit[key]]
        codes[j] = np.frombuffer(min(cycle), codes.dtype)
    return codes


def _stored_as(values: Values, shape: tuple[int, int]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    whole = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}
    if values in whole:
        return np.dtype(whole[values]), shape
    return np.dtype(np.uint8), (bytes_of(shape[0] * shape[1], VALUE_BITS[values]),)


def _packed_integers(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Integers in two's complement of so many bits."""
    return packed_bits(codes.reshape(-1, 1).view(np.uint8), bits)


def _unpacked_integers(packed: NDArray[np.uint8], shape: tuple[int, int], bits: int) -> NDArray[np.int8]:
    raw = unpacked_bits(packed, shape[0] * shape[1], bits).astype(np.int16)
    return np.where(raw >= 1 << (bits - 1), raw - (1 << bits), raw).astype(np.int8).reshape(shape)
