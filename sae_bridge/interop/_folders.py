"""Folders of ``cfg.json`` and one safetensors file, as SAELens and sparsify write them: read with checks, written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expander_theory.base import InvalidFile
from expander_theory.results import atomic_write, read_json

CONFIGURATION = "cfg.json"


class Part:
    """The tensors of one folder, with the checks that reading them takes.

    Values are read as float64 where all of them are, else as float32.

    Args:
        path: the file, for messages where ``stored`` is given.
        stored: its tensors by name, read already; None: it is a safetensors file, read here.

    Raises:
        InvalidFile: missing, truncated, or no safetensors file.
    """

    def __init__(self, path: Path, stored: Mapping[str, Tensor] | None = None) -> None:
        self.path = path
        stored = _safetensors(path) if stored is None else dict(stored)
        double = all(value.dtype == torch.float64 for value in stored.values() if value.is_floating_point())
        self._dtype = torch.float64 if double else torch.float32
        self._left = stored

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor of the shape, finite, float32 or float64.

        Raises:
            InvalidFile: it is missing, has another shape, or holds NaN or infinity.
        """
        stored = self.take_stored(name, *shape)
        if not stored.is_floating_point():
            raise InvalidFile(self.path, f"holds {name} as {stored.dtype}, expected a floating type")
        value = stored.to(self._dtype)
        if not bool(torch.isfinite(value).all()):
            raise InvalidFile(self.path, f"holds NaN or infinity in {name}")
        return value

    def take_stored(self, name: str, *shape: int) -> Tensor:
        """Take a tensor as it is stored, without conversion and check of its values."""
        if name not in self._left:
            raise InvalidFile(self.path, f"holds no tensor {name}")
        value = self._left.pop(name)
        if value.shape != shape:
            raise InvalidFile(self.path, f"holds {name} of shape {tuple(value.shape)}, expected {shape}")
        return value

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def finish(self) -> None:
        """Refuse tensors that were not asked for: they would mean something."""
        if self._left:
            raise InvalidFile(self.path, f"holds tensors that are not understood: {', '.join(sorted(self._left))}")


def _safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors.torch
    from safetensors import SafetensorError

    if not path.is_file():
        raise InvalidFile(path, "no such file")
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, ValueError) as error:
        raise InvalidFile(path, f"truncated or no safetensors file ({error})") from None


def read_configuration(folder: Path, name: str = CONFIGURATION) -> dict[str, Any]:
    """The JSON object in ``cfg.json``, or in the file of another name.

    Raises:
        InvalidFile: missing or damaged.
    """
    path = folder / name
    if not path.is_file():
        raise InvalidFile(folder, f"holds no SAE ({name} is missing)")
    return read_json(path, dict[str, Any])


def positive(folder: Path, about: Mapping[str, Any], name: str, file: str = CONFIGURATION) -> int:
    """A positive integer of a configuration; :class:`InvalidFile` where it is none."""
    value = about.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise InvalidFile(folder / file, f"has {name} = {value!r}, expected a positive integer")
    return value


def mean_sparsity(stored: Any) -> int | None:
    """A stored k that is a mean, and need not be whole, as an integer; None where it is no positive number."""
    number = isinstance(stored, int | float) and not isinstance(stored, bool)
    return max(1, round(stored)) if number and 0 < stored < 2**31 else None


def write_folder(folder: Path, weights: str, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write both files, the configuration last.

    Raises:
        OSError: full or read-only disk.
    """
    import safetensors.torch

    atomic_write(folder / weights, safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}))
    atomic_write(folder / CONFIGURATION, json.dumps(about, indent=2, allow_nan=False).encode() + b"\n")
