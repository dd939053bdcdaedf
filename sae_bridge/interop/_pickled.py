"""Tensors that PyTorch pickled, read without running anything that the file says."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from expander_theory.base import InvalidFile


def read_pickled(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors by name in a file of ``torch.save``, on the CPU.

    PyTorch's restricted unpickler reads it (``weights_only``): tensors and plain containers, no other class or function
    of any module.

    Raises:
        InvalidFile: missing, truncated, no such file, one that asks for anything to be run, or that holds something
            else than named dense tensors whose values are all there.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(path, "no such file")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged pickle raises is whatever its opcodes ran into
        reason = " ".join(str(error).split())[:200]
        raise InvalidFile(path, f"truncated, or no file of tensors alone ({type(error).__name__}: {reason})") from None
    if not isinstance(stored, dict):
        raise InvalidFile(path, f"holds a {type(stored).__name__}, expected tensors by name")
    if "optimizer" in stored and "ae" in stored:
        raise InvalidFile(path, f"is the backup of an unfinished run (step {stored.get('step')!r}), not its SAE")
    for name, value in stored.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InvalidFile(path, f"holds {name!r}, a {type(value).__name__}, expected tensors by name")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise InvalidFile(path, f"holds {name} as a {value.layout} tensor of {value.dtype}, expected a dense one")
        # A tensor that repeats its storage takes no room in the file, and all of it once it is used.
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise InvalidFile(path, f"holds fewer values of {name} than its shape {tuple(value.shape)} has")
    return stored
