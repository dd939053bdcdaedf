"""One ordinary SAE folder from parts of it in several processes, some columns at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.dictionaries import (
    DENSE_KIND,
    KIND as DICTIONARY_KIND,
    VERSION as DICTIONARY_VERSION,
    DenseDictionary,
)
from expander_theory.results import Pieces, write_pieces
from sae_bridge.sae import KIND, VERSION, WEIGHTS, write_configuration
from sae_bridge.training.split.shard import FeatureShard

PIECE = 1 << 24
"""Bytes of one array that process 0 holds at a time, beyond its own part."""

Columns = Callable[[int, int], NDArray[Any]]
"""Own columns begin .. end - 1 of an array, as they are stored."""


def write_whole(shard: FeatureShard, dictionary: Path, folder: Path, fields: dict[str, Any]) -> None:
    """Write decoder and SAE as one process would, by process 0; all processes must call it.

    The files have the bytes that one process would write for these values. Nobody holds more than :data:`PIECE` bytes
    of the others' columns: arrays go from the processes to their place in the file.

    Raises:
        OSError: in process 0: full or read-only disk.
    """
    _write(dictionary, shard, *_decoder(shard))
    configuration, own = shard.stored()
    if shard.rows is not None:
        own["rows"] = shard.rows.cpu().numpy()
    arrays = {name: _pieces(shard, name, own[name]) for name in sorted(own)}
    _write(folder / WEIGHTS, shard, KIND, VERSION, configuration, arrays)
    if shard.exchange.rank == 0:
        write_configuration(folder, configuration, shard.about_mask, fields)
    shard.exchange.wait()


def _write(
    path: Path, shard: FeatureShard, kind: str, version: int, fields: dict[str, Any], arrays: dict[str, Pieces]
) -> None:
    if shard.exchange.rank == 0:
        write_pieces(path, kind, version, fields, arrays)
        return
    for array in arrays.values():
        for _ in array.pieces:  # it sends them
            pass


def _decoder(shard: FeatureShard) -> tuple[str, int, dict[str, Any], dict[str, Pieces]]:
    """The decoder as :meth:`sae_bridge.sae.SparseAutoencoder.dictionary` saves it: kind, version, fields, arrays."""

    def values(begin: int, end: int) -> NDArray[Any]:
        part = shard.columns(begin, end)
        return part.columns if isinstance(part, DenseDictionary) else part.values

    kind_of, width = values(0, 1).dtype, shard.weight.shape[1]
    shape = (shard.part.n, width)
    if shard.rows is None:
        pieces = Pieces(kind_of, shape, _gathered(shard, values, kind_of, (width,)))
        return DENSE_KIND, DICTIONARY_VERSION, {}, {"columns": pieces}
    rows = shard.rows.cpu().numpy()
    fields = {"m": shard.m, "recipe": shard.about_mask["mask_recipe"]}
    arrays = {
        "rows": _pieces(shard, "rows", rows),
        "values": Pieces(kind_of, shape, _gathered(shard, values, kind_of, (width,))),
    }
    return DICTIONARY_KIND, DICTIONARY_VERSION, fields, arrays


def _pieces(shard: FeatureShard, name: str, own: NDArray[Any]) -> Pieces:
    """An array of the SAE: cut by features, or the same in all processes."""
    if name in ("b_dec", "scale", "threshold"):
        return Pieces(own.dtype, own.shape, [own])
    shape = (shard.part.n, *own.shape[1:])
    return Pieces(own.dtype, shape, _gathered(shard, lambda a, b: own[a:b], own.dtype, own.shape[1:]))


def _gathered(shard: FeatureShard, own: Columns, dtype: np.dtype[Any], row: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """In process 0 the columns of all processes in order; elsewhere nothing is given, and own ones are sent."""
    part, rank = shard.part, shard.exchange.rank
    width = int(np.prod(row, dtype=np.int64)) * dtype.itemsize
    size = max(1, PIECE // max(1, width))
    for source in range(part.size):
        count = part.bounds(source + 1) - part.bounds(source)
        for begin in range(0, count, size):
            end = min(count, begin + size)
            if source == rank:
                block = own(begin, end)
                if rank == 0:
                    yield block
                else:
                    dist.send(_bytes_of(block).to(shard.device), 0)
            elif rank == 0:
                buffer = torch.empty((end - begin) * width, dtype=torch.uint8, device=shard.device)
                dist.recv(buffer, source)
                yield buffer.cpu().numpy().view(dtype).reshape(end - begin, *row)


def _bytes_of(block: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(block, order="C").reshape(-1).view(np.uint8))
