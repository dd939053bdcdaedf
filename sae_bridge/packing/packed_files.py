"""One small file for a whole SAE: values in few bits, supports in none or few, and the configuration in its header.

A safetensors file of :mod:`expander_theory.results`, kind ``expander-sae-packed``. Its arrays: for each matrix (the
decoder's ``weight``, ``dense`` columns, ``encoder``) its values in the format that the header names, with
``<name>.norms`` where they are integers of rows that are not unit; for each vector (b_enc, b_dec, thresholds) its
numbers; ``rows``, the supports, unless the mask's recipe draws them again. NumPy has no bfloat16: its bits are stored
as uint16, and the header names every type. Numbers (scale, threshold) are in the header; arrays of zeros, such as b_enc
of a pursuit, are only named there. Equal SAEs give equal bytes.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import InvalidFile, require, require_choice
from expander_theory.masks import Mask, require_sizes
from expander_theory.results import (
    Hex,
    Size,
    canonical_json,
    read_arrays,
    stored_kind,
    stored_sha256,
    typed,
    write_arrays,
)
from sae_bridge.packing.recipes import redrawn
from sae_bridge.packing.supports import pack_supports, unpack_supports
from sae_bridge.packing.values import VALUES, Values, from_bfloat16, pack_rows, to_bfloat16, unpack_rows

PACKED_KIND, VERSION = "expander-sae-packed", 1
HEADER_BYTES = 4096
"""What the header takes at most: names, shapes, the configuration and how the SAE was trained."""
_FIELDS_BYTES = HEADER_BYTES - 1024  # the rest: a line for each of the arrays, of which there are at most ten

Vectors = Literal["bfloat16", "float32"]
Supports = Literal["auto", "listed"]
Arrays = dict[str, NDArray[Any]]
_ROWS = "rows"
UNIT = ("weight", "dense")
"""Matrices whose rows are unit vectors, columns of the decoder."""
_MOST = 1 << 34  # values of an array


@dataclass(frozen=True)
class Packing:
    """How an SAE is packed.

    Attributes:
        values: of decoder and encoder, see :mod:`sae_bridge.packing.values`.
        vectors: of biases and of thresholds by feature.
        supports: "auto": none where the mask's recipe draws it again, else listed; "listed": always listed, so that
            reading does not rest on drawing the same mask again.

    Raises:
        InvalidArgument: no such choice.
    """

    values: Values = "bfloat16"
    vectors: Vectors = "bfloat16"
    supports: Supports = "auto"

    def __post_init__(self) -> None:
        require_choice("values", self.values, VALUES)
        require_choice("vectors", self.vectors, get_args(Vectors))
        require_choice("supports", self.supports, get_args(Supports))


@dataclass(frozen=True)
class Unpacked:
    """What a packed file holds.

    Attributes:
        packing: how; "listed" where supports are stored.
        configuration: what the SAE is, as its folder's ``cfg.json`` says it.
        mask: None where the decoder is dense.
        arrays: float32, the mask's aside.
        training: how it was trained.
        sha256: of the content.
    """

    packing: Packing
    configuration: dict[str, Any]
    mask: Mask | None
    arrays: Arrays
    training: dict[str, Any]
    sha256: str


class _MaskFields(TypedDict):
    recipe: str
    sha256: Hex
    m: Size
    n: Size
    d: Size


class _Fields(TypedDict):
    values: Values
    vectors: Vectors
    sae: dict[str, Any]
    training: dict[str, Any]
    mask: NotRequired[_MaskFields]
    numbers: dict[str, float]
    shapes: dict[str, list[Size]]
    zeros: list[str]


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether an intact header there says that it is a packed SAE."""
    try:
        return stored_kind(path) == PACKED_KIND
    except InvalidFile:
        return False


def write_packed(
    path: str | os.PathLike[str],
    packing: Packing,
    configuration: dict[str, Any],
    mask: Mask | None,
    arrays: Arrays,
    training: dict[str, Any],
) -> None:
    """Write one file; a file that was there stays until the new one is complete.

    Args:
        configuration, mask, arrays, training: as :class:`Unpacked` has them; arrays finite, of any floating type.

    Raises:
        InvalidArgument: training fields for which the header has no room, or numbers beyond bfloat16's.
        OSError: full or read-only disk.
    """
    fields: dict[str, Any] = {"values": packing.values, "vectors": packing.vectors, "sae": configuration}
    fields |= {"training": training, "numbers": {}, "shapes": {}, "zeros": []}
    stored: Arrays = {}
    if mask is not None:
        fields["mask"] = {"recipe": mask.recipe, "sha256": mask.sha256, "m": mask.m, "n": mask.n, "d": mask.d}
        if packing.supports == "listed" or redrawn(mask.recipe, mask.m, mask.n, mask.d) != mask:
            stored[_ROWS] = pack_supports(mask.rows, mask.m)
    for name, array in sorted(arrays.items()):
        if array.ndim == 0:
            fields["numbers"][name] = float(np.float32(array))
            continue
        fields["shapes"][name] = list(array.shape)
        if not array.any():
            fields["zeros"].append(name)
        elif array.ndim == 1:
            stored[name] = to_bfloat16(array) if packing.vectors == "bfloat16" else array.astype(np.float32)
        else:
            stored |= _named(name, pack_rows(array, packing.values, unit=name in UNIT))
    room = len(json.dumps(canonical_json(fields)))
    allowed = f"must fit into {_FIELDS_BYTES} bytes, those of the header of a packed file"
    require(room <= _FIELDS_BYTES, "configuration and training fields", f"{room} bytes", allowed)
    write_arrays(path, PACKED_KIND, VERSION, fields, stored)


def read_packed(path: str | os.PathLike[str]) -> Unpacked:
    """Read what :func:`write_packed` wrote. Columns of the decoder come back as unit vectors.

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or of another kind; or a mask that this
            release draws otherwise from its recipe.
    """
    raw, stored = read_arrays(path, PACKED_KIND, VERSION)
    fields = typed(path, raw, _Fields)
    listed = _ROWS in stored
    try:
        arrays = _taken_arrays(fields, stored)
        mask = _taken_mask(fields, stored)
        if stored:
            raise ValueError(f"it also holds {', '.join(sorted(stored))}")
    except ValueError as error:  # an InvalidArgument is one too
        raise InvalidFile(path, f"damaged: {error}") from None
    if "mask" in fields and (mask is None or mask.sha256 != fields["mask"]["sha256"]):
        why = "altered: its supports are" if listed else "this release draws another mask from its recipe: it is"
        raise InvalidFile(path, f"{why} not the one that its header names")
    packing = Packing(fields["values"], fields["vectors"], "listed" if listed else "auto")
    return Unpacked(packing, fields["sae"], mask, arrays, fields["training"], stored_sha256(path))


def _key(name: str, part: str) -> str:
    return f"{name}.{part}" if part else name


def _named(name: str, parts: Arrays) -> Arrays:
    return {_key(name, part): value for part, value in parts.items()}


def _taken_arrays(fields: _Fields, stored: Arrays) -> Arrays:
    """All arrays but the mask's, float32, taken out of ``stored``; ValueError where they are not as the header says."""
    found: Arrays = {name: np.asarray(value, np.float32) for name, value in fields["numbers"].items()}
    for name, shape in fields["shapes"].items():
        if len(shape) not in (1, 2) or math.prod(shape) not in range(1, _MOST):
            raise ValueError(f"{name} of shape {shape}")
        if name in fields["zeros"]:
            if name in UNIT:
                raise ValueError(f"{name} of zeros, which are no unit vectors")
            found[name] = np.zeros(shape, np.float32)
            continue
        parts = {part: stored.pop(key) for part in ("", "norms") if (key := _key(name, part)) in stored}
        found[name] = _values(name, parts, shape, fields)
    return found


def _values(name: str, parts: Arrays, shape: list[int], fields: _Fields) -> NDArray[np.float32]:
    if "" not in parts:
        raise ValueError(f"it lacks {name}")
    if len(shape) == 2:
        return unpack_rows(parts, fields["values"], (shape[0], shape[1]), unit=name in UNIT)
    bits = fields["vectors"] == "bfloat16"
    vector = parts[""]
    if vector.shape != tuple(shape) or vector.dtype != (np.uint16 if bits else np.float32):
        raise ValueError(f"{name} of {vector.dtype} and shape {vector.shape}")
    return from_bfloat16(vector) if bits else vector


def _taken_mask(fields: _Fields, stored: Arrays) -> Mask | None:
    """The mask, its supports taken out of ``stored``; None where there is none, or its recipe draws none."""
    if "mask" not in fields:
        return None
    about = fields["mask"]
    m, n, d = require_sizes(about["m"], about["n"], about["d"])
    # Of the sizes of what has been read: a header cannot make a mask of any size be drawn.
    if fields["shapes"].get("weight") != [n, d]:
        raise ValueError(f"a mask of n = {n}, d = {d} beside weight of shape {fields['shapes'].get('weight')}")
    if _ROWS in stored:
        return Mask(m, unpack_supports(stored.pop(_ROWS), m, n, d), about["recipe"])
    return redrawn(about["recipe"], m, n, d)
