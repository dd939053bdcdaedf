"""Models in GGUF files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from expander_theory.base import InvalidFile, MissingResource


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
