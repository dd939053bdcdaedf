"""Where a language model comes from: a model fetched by name, a local folder, a GGUF file, or a name on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch

from expander_theory.base import InvalidArgument, InvalidFile, require, require_choice
from expander_theory.results import read_json
from sae_bridge.models._gguf import cannot_load, read_gguf, require_all_parameters
from sae_bridge.models._named import NAMED, converted_folder

ModelDtype = Literal["float32", "bfloat16"]

_ALLOWED = f"{', '.join(map(repr, NAMED))}, a folder, a .gguf file, or a hub name"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_PATIENCE = 10.0  # seconds for the hub's first answer


def load_pretrained(source: str, dtype: ModelDtype) -> tuple[str, Any, Any]:
    """Name, transformers model (on the CPU) and tokenizer, as ``load_language_model`` describes them.

    Raises:
        MissingResource, InvalidFile, InvalidArgument: as ``load_language_model`` does.
    """
    import transformers

    require_choice("dtype", dtype, ModelDtype.__args__)
    require(source.strip() != "", "model", repr(source), f"must be {_ALLOWED}")
    kind: torch.dtype = getattr(torch, dtype)
    named = source in NAMED
    with _quiet(transformers):
        path = converted_folder(source) if named else Path(source).expanduser()
        local = path.exists() or _looks_local(source)
        if local and not path.exists():
            raise InvalidFile(path, "no such model folder or file")
        if path.is_dir():
            _require_complete(path)
        offline = local or not _on_hub(source)
        if path.is_file():
            model, tokenizer = read_gguf(path, kind)
        else:
            model, tokenizer = _from_folder_or_hub(transformers, str(path) if local else source, kind, local, offline)
    return str(path.resolve()) if local and not named else source, model, tokenizer


def _from_folder_or_hub(
    transformers: Any, name: str, dtype: torch.dtype, local: bool, offline: bool
) -> tuple[Any, Any]:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=offline)
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, local_files_only=offline, output_loading_info=True
        )
    except Exception as error:  # a damaged file makes the library raise almost anything
        problem = cannot_load(error)
        if local:
            raise InvalidFile(name, problem) from error
        raise InvalidArgument("model", repr(name), f"{problem} (it must be {_ALLOWED})") from error
    require_all_parameters(name, info)
    return model, tokenizer


def _looks_local(source: str) -> bool:
    """Whether a name that does not exist here was meant as a path: hub names are NAME or OWNER/NAME."""
    first = Path(source).parts[0]
    nested = source.count("/") > 1 or ("/" in source and Path(first).is_dir())
    return source.startswith((".", "/", "~")) or source.endswith(".gguf") or nested


class _Index(TypedDict):
    weight_map: dict[str, str]


def _require_complete(folder: Path) -> None:
    """Name the file that a model folder lacks, before the library says something longer."""
    if not (folder / "config.json").is_file():
        raise InvalidFile(folder, "no model folder: it holds no config.json")
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise InvalidFile(folder, f"holds no weights: none of {', '.join(_WEIGHTS)}")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise InvalidFile(folder, f"holds no tokenizer: none of {', '.join(_TOKENIZERS)}")
    if weights.suffix == ".json":
        shards = sorted(set(read_json(weights, _Index)["weight_map"].values()))
        for shard in shards:
            if not (folder / shard).is_file():
                raise InvalidFile(folder / shard, f"this shard of the weights is missing ({len(shards)} in all)")


def _on_hub(name: str) -> bool:
    """Whether the hub can be asked for the model; False where only the copy in its cache is to be had.

    The library itself retries every file for half a minute, so one request without retries is made first.

    Raises:
        InvalidArgument: no such model, or no hub and no copy.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=_PATIENCE)
    except GatedRepoError:
        return True  # its files may be open to this user; the download itself will tell
    except (RepositoryNotFoundError, HFValidationError):
        problem = f"neither a file here nor a model on the hub, or a private one (it must be {_ALLOWED})"
        raise InvalidArgument("model", repr(name), problem) from None
    except Exception as error:  # no network, no answer, offline on request: each HTTP library has its own errors
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            why = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"
            problem = f"no file here, not in the hub's cache, and the hub cannot be reached ({why})"
            raise InvalidArgument("model", repr(name), f"{problem}; it must be {_ALLOWED}") from None
        return False
    return True


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the library's own bars and warnings: ours say what matters."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
