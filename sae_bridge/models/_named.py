"""Models known by name: fetched by ``expander fetch``, converted once, kept as safetensors."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sae_bridge.models._gguf import read_gguf
from sae_bridge.models._llama2c import read_llama2c
from sae_bridge.models.resources import GEMMA, MODEL, STORIES, Resource, find


@dataclass(frozen=True)
class NamedModel:
    """A fetched file, the folder beside it that holds the conversion, and what reads the file."""

    resource: Resource
    folder: str
    read: Callable[[Path, torch.dtype], tuple[Any, Any]]


NAMED = {
    "default": NamedModel(MODEL, "SmolLM2-135M-Instruct", read_gguf),
    "gemma": NamedModel(GEMMA, "gemma-3-270m", read_gguf),
    "stories": NamedModel(STORIES, "stories15M", read_llama2c),
}
"""What ``load_language_model`` knows by name."""


def converted_folder(name: str) -> Path:
    """A named model as ``transformers`` saves it in float32, which loads in seconds.

    Converted on first use: SmolLM2 35 s and 0.5 GB of disk, Gemma 2 minutes and 1.1 GB, stories15M 6 s and 60 MB.

    Raises:
        MissingResource: it has not been fetched, or a package that reads GGUF is absent.
        InvalidFile: the fetched file is damaged.
        OSError: the cache cannot be written; nothing half-written is left.
    """
    named = NAMED[name]
    folder = named.resource.path.parent / named.folder
    if (folder / "config.json").is_file():
        return folder
    source = find(named.resource)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        model, tokenizer = named.read(source, torch.float32)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if not folder.exists():
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
