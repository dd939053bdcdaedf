"""Models in GGUF files, and the two that ``expander fetch`` brings: read once, kept as safetensors."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from expander_theory.errors import InvalidFile, MissingResource
from sae_bridge.resources import GEMMA, MODEL, find

NAMED = {"default": (MODEL, "SmolLM2-135M-Instruct"), "gemma": (GEMMA, "gemma-3-270m")}
"""What ``load_language_model`` knows by name: the resource, and the folder beside it that holds the conversion."""


def converted_folder(name: str) -> Path:
    """A named model as ``transformers`` saves it in float32, which loads in seconds.

    Converted from its GGUF file on first use: SmolLM2 35 s and 0.5 GB of disk, Gemma 2 minutes and 1.1 GB.

    Raises:
        MissingResource: it has not been fetched, or a package that reads GGUF is absent.
        InvalidFile: the fetched file is damaged.
        OSError: the cache cannot be written; nothing half-written is left.
    """
    resource, folder_name = NAMED[name]
    folder = resource.path.parent / folder_name
    if (folder / "config.json").is_file():
        return folder
    source = find(resource)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        model, tokenizer = read_gguf(source, torch.float32)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if not folder.exists():
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read_gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer, as an ordinary model that knows nothing of its quantised origin.

    Raises:
        MissingResource: a package that reads GGUF is absent.
        InvalidFile: the file cannot be read, or lacks parameters of the model.
    """
    import transformers

    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingResource(f"GGUF files need the package {package}: run `pip install {package}`")
    place: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            **place, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # a damaged file makes the library raise almost anything
        raise InvalidFile(path, cannot_load(error)) from error
    quantised, info = loaded
    require_all_parameters(path, info)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(quantised.state_dict())  # casts parameters; buffers that no file holds stay float32
    model.tie_weights()
    return model, tokenizer


def cannot_load(error: Exception) -> str:
    """The first line of what the library said."""
    return f"cannot be loaded: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"


def require_all_parameters(place: object, info: dict[str, Any]) -> None:
    """Refuse weights that lack parameters of the model: the library fills them with random values.

    Raises:
        InvalidFile: the text names the first three.
    """
    missing = sorted(info["missing_keys"])
    if missing:
        raise InvalidFile(place, f"its weights lack {len(missing)} parameters of the model: {', '.join(missing[:3])}")
