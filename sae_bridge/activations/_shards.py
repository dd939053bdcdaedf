"""The shards of a store of activations: written whole, checked on first reading, then read in parts.

A shard is a safetensors file with ``tokens`` (contexts, context) int32, ``documents`` (contexts,) int32 (the
document that each came from), ``kept`` (contexts, context) bool (the positions that count) and ``activations``
(rows, m): those of the kept positions alone, in their order, as float32 or as the bits of bfloat16 in uint16
(numpy has no bfloat16).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidFile
from expander_theory.results import Count, Hex, Positive, read_arrays, typed, write_arrays
from sae_bridge.activations.description import KIND, SPLITS, VERSION, harvest_id

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_STORED = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(np.uint16)}
_SHARD_BYTES = 64 << 20
_MOST_CONTEXTS = 64


def contexts_per_shard(m: int, context: int, dtype: str) -> int:
    """Contexts of one shard: 64, or as many as make 64 MiB of activations."""
    return max(1, min(_MOST_CONTEXTS, _SHARD_BYTES // (m * context * _STORED[dtype].itemsize)))


class _Fields(TypedDict):
    split: str
    index: Count
    harvest: Hex
    norm_limit: Positive | None


@dataclass(frozen=True)
class Shard:
    """The content of one shard; ``rows`` (rows, m) in the stored dtype, ``norm_limit`` as in the store."""

    tokens: NDArray[np.int32]
    documents: NDArray[np.int32]
    kept: NDArray[np.bool_]
    rows: Tensor
    norm_limit: float


class Shards:
    """The shard files that a description speaks of, whether they are there or not.

    Args:
        folder: of the store.
        description: its ``activations.json``.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder, self._description = folder, description
        self._id = harvest_id(description)
        self._each: int = description["contexts_per_shard"]

    def count(self, split: str) -> int:
        """Shards of a split."""
        return -(-self._description["contexts"][split] // self._each)

    def all(self) -> list[tuple[str, int]]:
        """(split, index) of every shard, in the order in which they are harvested."""
        return [(split, index) for split in SPLITS for index in range(self.count(split))]

    def missing(self) -> list[tuple[str, int]]:
        """Shards whose file is not there."""
        return [(split, index) for split, index in self.all() if not self.path(split, index).is_file()]

    def path(self, split: str, index: int) -> Path:
        """The file of one shard."""
        return self.folder / f"{split}-{index:05d}.safetensors"

    def contexts(self, split: str, index: int) -> slice:
        """The contexts of the split that it holds."""
        return slice(index * self._each, min((index + 1) * self._each, self._description["contexts"][split]))

    def overlapping(self, split: str, part: slice) -> range:
        """Shards of a split that hold some of the contexts ``part``, which are there."""
        return range(part.start // self._each, -(-part.stop // self._each))

    def bytes(self, split: str, index: int) -> int:
        """Of one shard's file without its header, at most."""
        part, about = self.contexts(split, index), self._description
        token = about["m"] * _STORED[about["dtype"]].itemsize + 5  # an activation, an id, and whether it counts
        return (part.stop - part.start) * about["context"] * token

    def write(self, split: str, index: int, shard: Shard) -> None:
        """Write one shard whole, or not at all.

        Raises:
            OSError: full or read-only disk; it names the file.
        """
        fields = {
            "split": split,
            "index": index,
            "harvest": self._id,
            "norm_limit": shard.norm_limit if math.isfinite(shard.norm_limit) else None,
        }
        bits = shard.rows.view(torch.int16) if shard.rows.dtype == torch.bfloat16 else shard.rows
        arrays = {
            "tokens": shard.tokens,
            "documents": shard.documents,
            "kept": shard.kept,
            "activations": bits.numpy().view(_STORED[self._description["dtype"]]),
        }
        write_arrays(self.path(split, index), KIND, VERSION, fields, arrays)

    def read(self, split: str, index: int) -> Shard:
        """One shard, checked whole: hash, place, harvest, shapes, and no NaN or infinity.

        Raises:
            InvalidFile: a missing, damaged or foreign shard.
        """
        path = self.path(split, index)
        fields, arrays = read_arrays(path, KIND, VERSION)
        limit = typed(path, fields, _Fields, "fields")["norm_limit"]
        if (fields.get("split"), fields.get("index")) != (split, index):
            raise InvalidFile(path, f"holds shard {fields.get('index')} of split {fields.get('split')!r}")
        if fields.get("harvest") != self._id:
            raise InvalidFile(path, "belongs to another harvest than activations.json; delete it and harvest again")
        part = self.contexts(split, index)
        shape = (part.stop - part.start, self._description["context"])
        kept = arrays.get("kept", np.zeros(0, np.bool_))
        rows = int(np.count_nonzero(kept))
        expected = {
            "tokens": (shape, np.dtype(np.int32)),
            "documents": (shape[:1], np.dtype(np.int32)),
            "kept": (shape, np.dtype(np.bool_)),
            "activations": ((rows, self._description["m"]), _STORED[self._description["dtype"]]),
        }
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != expected:
            raise InvalidFile(path, "damaged: its arrays have other shapes or types than activations.json says")
        if arrays["tokens"].min() < 0 or arrays["documents"].min() < 0:
            raise InvalidFile(path, "damaged: it holds a negative token id or number of a document")
        activations = self._tensor(arrays["activations"])
        if not bool(torch.isfinite(activations).all()):
            raise InvalidFile(path, "damaged: it holds NaN or infinite activations; delete it and harvest again")
        return Shard(arrays["tokens"], arrays["documents"], kept, activations, math.inf if limit is None else limit)

    def read_rows(self, split: str, index: int, first: int, last: int) -> Tensor:
        """Rows first..last - 1 of a shard in the stored dtype; only they are read, unchecked.

        Raises:
            InvalidFile: the file is gone, or no longer what :meth:`read` accepted.
        """
        from safetensors import SafetensorError, safe_open

        path = self.path(split, index)
        try:
            with safe_open(path, framework="numpy") as file:
                found = file.get_slice("activations")[first:last]
        except (OSError, SafetensorError, TypeError, AttributeError) as error:
            raise InvalidFile(path, f"cannot be read any more ({error})") from None
        expected = (last - first, self._description["m"]), _STORED[self._description["dtype"]]
        if (found.shape, found.dtype) != expected:
            raise InvalidFile(path, "cannot be read any more (its activations have another shape or type than before)")
        return self._tensor(found)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        if array.dtype == np.uint16:
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)
