"""Causal language models with hook points in the residual stream that are named alike for every architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from expander_theory.base import InvalidArgument, require, require_choice, require_int
from sae_bridge.models._sources import ModelDtype, load_pretrained

Hook = Literal["resid_pre", "resid_post"]
HOOKS = ("resid_pre", "resid_post")


class _Enough(Exception):
    """Ends a forward pass once the hooked activation is known."""


@dataclass
class LanguageModel:
    """A causal LM with named residual-stream hook points.

    Hook point ``resid_pre`` of layer i is what decoder block i reads, ``resid_post`` what it hands on, whatever the
    architecture; ``resid_post`` of a layer is ``resid_pre`` of the next, and that of the last is what the final
    normalisation reads.

    Attributes:
        name: what :func:`load_language_model` finds it by from anywhere: "default", a full path, or a hub name.
        model: the transformers model, in evaluation mode.
        tokenizer: its tokenizer.
    """

    name: str
    model: nn.Module
    tokenizer: Any

    @cached_property
    def layers(self) -> nn.ModuleList:
        """The decoder blocks: the outermost list of as many modules as the text configuration has hidden layers.

        Where there are several such lists (a model that sees or hears may have a tower of as many blocks), the first
        whose blocks a text runs through.

        Raises:
            InvalidArgument: an architecture without such a list.
        """
        count = getattr(self._config, "num_hidden_layers", None)
        lists = [
            module  # in pre-order: a list comes before what it holds
            for module in self.model.modules()
            if isinstance(module, nn.ModuleList) and len(module) == count
        ]
        found = lists[0] if len(lists) == 1 else next(filter(self._runs_through, lists), None)
        if found is None:
            raise InvalidArgument("model", self.name, f"holds no list of {count} decoder blocks: not a decoder-only LM")
        return found

    def _runs_through(self, blocks: nn.ModuleList) -> bool:
        """Whether a text visits these modules, with the residual stream as what they are given."""
        seen: list[bool] = []

        def look(_: nn.Module, args: Any, kwargs: Any) -> None:
            hidden = args[0] if args else kwargs.get("hidden_states")
            seen.append(isinstance(hidden, Tensor) and hidden.shape == (1, 1, self.m))

        handles = [block.register_forward_pre_hook(look, with_kwargs=True) for block in blocks]
        try:
            self._run_one_token()
        finally:
            for handle in handles:
                handle.remove()
        return len(seen) == len(blocks) and all(seen)

    @torch.no_grad()
    def _run_one_token(self) -> Tensor:
        return self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device), use_cache=False).logits

    @torch.no_grad()
    def require_steerable(self, layer: int, hook: Hook) -> None:
        """Check, with one token, that what is put at a hook point reaches the logits: all measures there rest on it.

        Raises:
            InvalidArgument: no such layer or hook, or an intervention that changes nothing.
        """
        with self.intervene(layer, hook, _tilted):  # zeros may be what is there: a padding token's embedding
            changed = self._run_one_token()
        reached = not torch.equal(changed, self._run_one_token())
        allowed = "is no place that the logits depend on: an intervention there changes nothing"
        require(reached, "hook", f"{hook} of layer {layer} of {self.name}", allowed)

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
        """The torch device on which the parameters lie."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the parameters, activations and logits are."""
        return next(self.model.parameters()).dtype

    def block(self, layer: int) -> nn.Module:
        """Decoder block ``layer``.

        Raises:
            InvalidArgument: layer outside 0..layers-1.
        """
        count, layer = len(self.layers), require_int("layer", layer)
        require(0 <= layer < count, "layer", layer, f"must be between 0 and {count - 1} for {self.name}")
        return self.layers[layer]

    @torch.no_grad()
    def activations(self, tokens: Tensor, layer: int, hook: Hook = "resid_post") -> Tensor:
        """Residual stream (batch, context, m) at a hook point; later blocks are not run.

        Raises:
            InvalidArgument: no such layer or hook.
        """
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

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (batch, context, vocabulary) of the next token, in the model's dtype.

        They take batch * context * vocabulary values: with 262,144 token ids, 8 contexts of 128 tokens fill 1 GiB of
        float32. Choose the batch by :attr:`vocabulary`.
        """
        return self.model(input_ids=tokens.to(self.device), use_cache=False).logits

    def logits_from(self, tokens: Tensor, layer: int, hook: Hook, hidden: Tensor) -> Tensor:
        """Logits when the residual stream at a hook point is ``hidden``; the blocks below it are not run.

        The same as :meth:`logits` within an :meth:`intervene` that puts ``hidden`` there. Differentiable in ``hidden``
        if that asks for a gradient; the model's parameters are constants.

        Args:
            tokens: (batch, context): their embedding is still looked up, though nothing of it is left.
            layer, hook: the hook point.
            hidden: (batch, context, m), of any dtype and on any device.

        Returns:
            (batch, context, vocabulary) in the model's dtype.

        Raises:
            InvalidArgument: no such layer or hook; hidden of another shape.
        """
        require_choice("hook", hook, HOOKS)
        self.block(layer)
        wanted = (*tokens.shape, self.m)
        require(hidden.shape == wanted, "hidden", tuple(hidden.shape), f"must have the shape {wanted}")
        hidden = hidden.to(self.device, self.dtype)
        below = list(self.layers)[: layer + (hook == "resid_post")]
        followed = torch.is_grad_enabled() and hidden.requires_grad
        with (
            torch.set_grad_enabled(followed),
            _frozen(self.model),
            _bypassed(below, self._block_returns),
            self.intervene(layer, hook, lambda _: hidden),
        ):
            return self.model(input_ids=tokens.to(self.device), use_cache=False).logits

    @cached_property
    def _block_returns(self) -> int | None:
        """Length of the tuple that a block returns, None if it returns the hidden states alone: learnt by trying."""
        found: list[int | None] = []

        def look(_: nn.Module, __: Any, output: Any) -> None:
            found.append(len(output) if isinstance(output, tuple) else None)
            raise _Enough

        handle = self.layers[0].register_forward_hook(look)
        try:
            self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device), use_cache=False)
        except _Enough:
            pass
        finally:
            handle.remove()
        return found[0]

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


def _tilted(hidden: Tensor) -> Tensor:
    """Moved in a direction that no normalisation removes."""
    ramp = torch.linspace(-1, 1, hidden.shape[-1], device=hidden.device, dtype=hidden.dtype)
    return hidden + ramp * hidden.abs().amax().clamp_min(1)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Within it, no parameter of the model enters a graph."""
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)


@contextmanager
def _bypassed(blocks: Sequence[nn.Module], returns: int | None) -> Iterator[None]:
    """Within it, the blocks hand on what they are given, in a tuple of length ``returns`` (None: as it is)."""

    def hand_on(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return hidden if returns is None else (hidden, *[None] * (returns - 1))

    # an instance's own forward goes before its class's; some libraries have put one there already
    own = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = hand_on
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            block.__dict__.pop("forward", None)
            if forward is not None:
                block.forward = forward


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


def load_language_model(
    source: str = "default", *, device: str = "cpu", dtype: ModelDtype = "float32"
) -> LanguageModel:
    """Load a causal LM.

    Args:
        source: "default" (the embedded SmolLM2-135M, offline), "gemma" (Gemma 3 270M) or "stories" (stories15M), a
            folder that ``transformers`` saved, a ``.gguf`` file, or a name on the hub. Where the hub cannot be reached
            (or ``HF_HUB_OFFLINE`` is set), the copy in the hub's cache is used.
        device: torch device.
        dtype: "float32" or "bfloat16", of parameters and activations.

    Raises:
        MissingResource: a model of these names has not been fetched.
        InvalidFile: a missing or unreadable folder or file; the text names the file.
        InvalidArgument: a name that transformers cannot load, an absent device, another dtype.
    """
    target = checked_device(device)
    name, model, tokenizer = load_pretrained(source, dtype)
    return LanguageModel(name, model.to(target).eval(), tokenizer)
