"""Arrays that are too large to hold, written piece by piece: the same bytes as :func:`write_arrays`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import require
from expander_theory.results.files import HEADER, Fields, canonical_json, replacing

_TYPES = {"int64": "I64", "float64": "F64", "float32": "F32", "int32": "I32"}
"""NumPy's name of a type and safetensors', in the order that arrays have in a file; those of one type go by name."""
_READ = 1 << 22
_NO_HASH = "0" * 64


@dataclass(frozen=True)
class Pieces:
    """An array of which only pieces exist.

    Attributes:
        dtype: float64, float32, int64 or int32.
        shape: of the whole.
        pieces: of it, in order: their elements one after the other are its own.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: Iterable[NDArray[Any]]

    @property
    def bytes(self) -> int:
        """Of the whole."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def write_pieces(
    path: str | os.PathLike[str], kind: str, version: int, fields: Fields, arrays: Mapping[str, Pieces]
) -> None:
    """Save arrays as :func:`write_arrays` does, holding one piece at a time; they are asked for in the mapping's order.

    The file is written once and read once, for its hash, which then takes the place that was kept for it.

    Raises:
        InvalidArgument: a type that such files do not hold, or pieces that do not make the array.
        OSError: the folder cannot be made or written, or the disk is full; ``path`` is unchanged.
    """
    for name, array in arrays.items():
        require(array.dtype.name in _TYPES, name, array.dtype, f"must be one of {', '.join(_TYPES)}")
    header, places = _layout(kind, version, fields, arrays)
    starts = {name: len(header) + place for name, place in places.items()}
    with replacing(path) as file:
        file.write(header)
        for name, array in arrays.items():
            _fill(file, name, array, starts[name])
        digest = _hash(file, kind, version, fields, arrays, starts)
        file.seek(0)
        file.write(_layout(kind, version, fields, arrays, digest)[0])


def _layout(
    kind: str, version: int, fields: Fields, arrays: Mapping[str, Pieces], digest: str = _NO_HASH
) -> tuple[bytes, dict[str, int]]:
    """What a safetensors file begins with, and where in the rest of it each array does."""
    own = canonical_json({"kind": kind, "version": version, "fields": dict(fields), "sha256": digest})
    entries: dict[str, Any] = {"__metadata__": {HEADER: own}}
    places, at, order = {}, 0, list(_TYPES)
    for name in sorted(arrays, key=lambda name: (order.index(arrays[name].dtype.name), name)):
        array = arrays[name]
        offsets = [at, at + array.bytes]
        entries[name] = {"dtype": _TYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        places[name], at = offsets
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places


def _fill(file: BinaryIO, name: str, array: Pieces, at: int) -> None:
    file.seek(at)
    for piece in array.pieces:
        require(piece.dtype == array.dtype, name, piece.dtype, f"must be {array.dtype} in every piece")
        little = np.asarray(piece, order="C").astype(piece.dtype.newbyteorder("<"), copy=False)
        file.write(little.tobytes())
    written = file.tell() - at
    require(written == array.bytes, name, f"pieces of {written} bytes", f"must have the {array.bytes} of {array.shape}")


def _hash(
    file: BinaryIO,
    kind: str,
    version: int,
    fields: Fields,
    arrays: Mapping[str, Pieces],
    places: Mapping[str, int],
) -> str:
    """As :func:`write_arrays` has it, of what the file holds."""
    digest = hashlib.sha256(canonical_json({"kind": kind, "version": version, "fields": dict(fields)}).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        file.seek(places[name])
        for begin in range(0, array.bytes, _READ):
            digest.update(file.read(min(_READ, array.bytes - begin)))
    return digest.hexdigest()
