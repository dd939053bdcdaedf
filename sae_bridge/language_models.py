"""Causal language models: the embedded default, a local folder, a GGUF file, or a name on the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from expander_theory.errors import (
    ExpanderTheoryError,
    InvalidArgument,
    InvalidFile,
    MissingResource,
    require,
    require_choice,
)
from sae_bridge.resources import MODEL, cache_folder, find

Hook = Literal["resid_pre", "resid_post"]
HOOKS = ("resid_pre", "resid_post")

_LAYER_LISTS = ("model.layers", "gpt_neox.layers", "transformer.h", "model.decoder.layers")


class _Enough(Exception):
    """Ends a forward pass once the hooked activation is known."""


@dataclass
class LanguageModel:
    """A causal LM with named residual-stream hook points.

    Attributes:
        name: what :func:`load_language_model` finds it by from anywhere: "default", a full path, or a hub name.
        model: the transformers model, in evaluation mode.
        tokenizer: its tokenizer.
    """

    name: str
    model: nn.Module
    tokenizer: Any

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder blocks.

        Raises:
            InvalidArgument: an architecture whose blocks lie at none of the known places.
        """
        for path in _LAYER_LISTS:
            try:
                return self.model.get_submodule(path)  # type: ignore[return-value]
            except AttributeError:
                continue
        raise InvalidArgument("model", self.name, f"has its blocks at none of {', '.join(_LAYER_LISTS)}")

    @property
    def m(self) -> int:
        """Width of the residual stream.

        Raises:
            InvalidArgument: a configuration that does not tell it.
        """
        width = getattr(self._config, "hidden_size", None)
        require(width is not None, "model", self.name, "has a configuration without hidden_size: not a causal LM")
        return int(width)  # type: ignore[arg-type]

    @property
    def longest_context(self) -> int | None:
        """Positions that the model has; None where its configuration does not tell."""
        return getattr(self._config, "max_position_embeddings", None)

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model embeds."""
        return self.model.get_input_embeddings().weight.shape[0]  # type: ignore[operator,union-attr]

    @property
    def _config(self) -> Any:
        config: Any = self.model.config
        return config.get_text_config()

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of the parameters: names, shapes and up to 4,096 evenly spaced values of each."""
        digest = hashlib.sha256()
        for name, parameter in self.model.named_parameters():
            flat = parameter.detach().flatten()
            sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
            digest.update(f"{name} {tuple(parameter.shape)} ".encode() + sample.tobytes())
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.model.parameters()).device

    def block(self, layer: int) -> nn.Module:
        """Decoder block ``layer``.

        Raises:
            InvalidArgument: layer outside 0..layers-1.
        """
        count = len(self.layers)
        require(0 <= layer < count, "layer", layer, f"must be between 0 and {count - 1} for {self.name}")
        return self.layers[layer]

    @torch.no_grad()
    def activations(self, tokens: Tensor, layer: int, hook: Hook = "resid_post") -> Tensor:
        """Residual stream (batch, context, m) before or after block ``layer``; later blocks are not run."""
        seen: list[Tensor] = []

        def keep(hidden: Tensor) -> Tensor:
            seen.append(hidden.detach())
            raise _Enough

        try:
            with self.intervene(layer, hook, keep):
                self.model(input_ids=tokens.to(self.device), use_cache=False)
        except _Enough:
            pass
        return seen[0]

    @contextmanager
    def intervene(self, layer: int, hook: Hook, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within the block, the residual stream at the hook point is replaced by ``change`` of it.

        Raises:
            InvalidArgument: no such layer or hook.
        """
        require_choice("hook", hook, HOOKS)
        block = self.block(layer)

        def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
            if args:
                return (change(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        if hook == "resid_pre":
            handle = block.register_forward_pre_hook(before, with_kwargs=True)
        else:
            handle = block.register_forward_hook(after)
        try:
            yield
        finally:
            handle.remove()


def checked_device(name: str) -> torch.device:
    """A torch device that this machine has.

    Raises:
        InvalidArgument: an unknown or absent device.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidArgument("device", repr(name), f"cannot be used here ({str(error).splitlines()[0]})") from None
    return device


def load_language_model(source: str = "default", *, device: str = "cpu") -> LanguageModel:
    """Load a causal LM in float32.

    Args:
        source: "default" (the embedded SmolLM2-135M, offline), a folder that ``transformers`` saved, a
            ``.gguf`` file, or a name on the hub.
        device: torch device.

    Raises:
        MissingResource: the default model has not been fetched.
        InvalidFile: a missing or unreadable folder or file.
        InvalidArgument: a name that transformers cannot load.
    """
    import transformers

    target = checked_device(device)
    require(source.strip() != "", "model", repr(source), "must be a folder, a .gguf file or a name on the hub")
    path = _default_folder() if source == "default" else Path(source).expanduser()
    local = source == "default" or path.exists() or _looks_local(source)
    if local and not path.exists():
        raise InvalidFile(path, "no such model folder or file")
    if path.is_dir() and not (path / "config.json").is_file():
        raise InvalidFile(path, "no model folder: it holds no config.json")
    with _quiet(transformers):
        try:
            if path.is_file():
                model, tokenizer = _from_gguf(transformers, path)
            else:
                name = str(path) if local else source
                tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=local)
                model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                    name, dtype=torch.float32, local_files_only=local
                )
        except ExpanderTheoryError:
            raise
        except Exception as error:  # a damaged file makes the library raise almost anything
            problem = f"cannot be loaded: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"
            if local:
                raise InvalidFile(path, problem) from error
            raise InvalidArgument("model", source, f"{problem} (a folder, a .gguf file, or a hub name)") from error
    name = str(path.resolve()) if local and source != "default" else source
    return LanguageModel(name, model.to(target).eval(), tokenizer)


def _looks_local(source: str) -> bool:
    """Whether a name that does not exist here was meant as a path: hub names are NAME or OWNER/NAME."""
    first = Path(source).parts[0]
    nested = source.count("/") > 1 or ("/" in source and Path(first).is_dir())
    return source.startswith((".", "/", "~")) or source.endswith(".gguf") or nested


def _default_folder() -> Path:
    """The default model as safetensors (3 s to load), converted from its GGUF file on first use."""
    folder = cache_folder() / "model" / "SmolLM2-135M-Instruct"
    if (folder / "config.json").is_file():
        return folder
    import transformers

    source = find(MODEL)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        with _quiet(transformers):
            model, tokenizer = _from_gguf(transformers, source)
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        if not folder.exists():
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _from_gguf(transformers: Any, path: Path) -> tuple[Any, Any]:
    """Model and tokenizer, as an ordinary float32 model that knows nothing of its quantised origin."""
    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingResource(f"GGUF files need the package {package}: run `pip install {package}`")
    place: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
    quantised = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.tie_weights()
    return model, tokenizer


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
