"""Causal language models with hook points in and around their blocks that are named alike for every architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from expander_theory.base import InvalidArgument, require, require_choice, require_int
from sae_bridge.models._block_parts import Found, find_hook_points
from sae_bridge.models._bypass import bypassed, frozen
from sae_bridge.models._hook_points import HookPoint, unchanged
from sae_bridge.models._sources import ModelDtype, load_pretrained

Hook = Literal["resid_pre", "resid_post", "mlp_in", "mlp_out", "attn_out", "attn_z"]
HOOKS: tuple[Hook, ...] = get_args(Hook)
_STREAM = ("resid_pre", "resid_post")

_PROBE = (2, 3)
"""Batch and context of the tokens with which hook points are found."""


class _Enough(Exception):
    """Ends a forward pass once the hooked activation is known."""


@dataclass
class LanguageModel:
    """A causal LM with named hook points, the same for every architecture.

    - ``resid_pre`` of layer i is what decoder block i reads, ``resid_post`` what it hands on; ``resid_post`` of a layer
      is ``resid_pre`` of the next, and that of the last is what the final normalisation reads.
    - ``mlp_in`` is what the block's MLP (or mixture of experts) reads, after the norm where there is one before it.
    - ``attn_out`` and ``mlp_out`` are what attention and MLP add to the residual stream, after a norm that comes behind
      them: resid_pre + attn_out + mlp_out = resid_post, but for a third part where a block has one (Falcon-H1). An
      architecture that multiplies them by a constant before it adds them (Granite) has them without that constant.
    - ``attn_z`` is what the attention's output projection reads: the heads, one after the other, heads * head_dim wide,
      which need not be the width of the residual stream.

    The last four are found in the block itself (:mod:`sae_bridge.models._block_parts`). Where a block has none, asking
    for it is an error that says why.

    Attributes:
        name: what :func:`load_language_model` finds it by from anywhere: "default", a full path, or a hub name.
        model: the transformers model, in evaluation mode.
        tokenizer: its tokenizer.
    """

    name: str
    model: nn.Module
    tokenizer: Any
    _found: dict[int, Found] = field(default_factory=dict, init=False, repr=False, compare=False)

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

    def width(self, layer: int, hook: Hook) -> int:
        """Width of the activations at a hook point: m of the residual stream, but for ``attn_z``.

        Raises:
            InvalidArgument: no such layer or hook.
        """
        return self._point(layer, hook).width

    def _point(self, layer: int, hook: Hook) -> HookPoint:
        require_choice("hook", hook, HOOKS)
        block = self.block(layer)
        if hook in _STREAM:
            return HookPoint(block, "input" if hook == "resid_pre" else "output", self.m)
        if layer not in self._found:
            with unchanged():
                self._found[layer] = find_hook_points(block, *self._arguments(block))
        found = self._found[layer]
        if hook not in found.points:
            there = ", ".join(name for name in HOOKS if name in _STREAM or name in found.points)
            problem = f"does not exist: its block ({type(block).__name__}) {found.lacking[hook]}; there are {there}"
            raise InvalidArgument("hook", f"{hook} of layer {layer} of {self.name}", problem)
        return found.points[hook]

    @torch.no_grad()
    def _arguments(self, block: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a block is called with in a short text."""
        seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def look(_: nn.Module, args: Any, kwargs: Any) -> None:
            seen.append((args, kwargs))
            raise _Enough

        handle = block.register_forward_pre_hook(look, with_kwargs=True)
        try:
            self.model(input_ids=torch.zeros(_PROBE, dtype=torch.long, device=self.device), use_cache=False)
        except _Enough:
            pass
        finally:
            handle.remove()
        return seen[0]

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

    def activations(self, tokens: Tensor, layer: int, hook: Hook = "resid_post") -> Tensor:
        """What passes a hook point, (batch, context, width); nothing that comes later is run.

        Raises:
            InvalidArgument: no such layer or hook.
        """
        return self.activations_at(tokens, [(layer, hook)])[0]

    @torch.no_grad()
    def activations_at(self, tokens: Tensor, places: Sequence[tuple[int, Hook]]) -> list[Tensor]:
        """What passes several hook points in one run, each (batch, context, width), in the order of ``places``.

        The run ends with the last of them.

        Raises:
            InvalidArgument: no place, or no such layer or hook.
        """
        require(len(places) > 0, "places", places, "must name at least one layer and hook")
        wanted = list(dict.fromkeys(places))
        points = [self._point(*place) for place in wanted]  # finding them may run the model
        seen: dict[tuple[int, Hook], Tensor] = {}

        def keep(place: tuple[int, Hook], hidden: Tensor) -> Tensor:
            last = len(seen) == len(wanted) - 1
            seen[place] = hidden.detach() if last else hidden.detach().clone()  # blocks go on in place
            if last:
                raise _Enough
            return hidden

        with ExitStack() as stack:
            for place, point in zip(wanted, points, strict=True):
                stack.enter_context(point.changed(self.layers[place[0]], partial(keep, place)))
            with suppress(_Enough):
                self.model(input_ids=tokens.to(self.device), use_cache=False)
        return [seen[place] for place in places]

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (batch, context, vocabulary) of the next token, in the model's dtype.

        They take batch * context * vocabulary values: with 262,144 token ids, 8 contexts of 128 tokens fill 1 GiB of
        float32. Choose the batch by :attr:`vocabulary`.
        """
        return self.model(input_ids=tokens.to(self.device), use_cache=False).logits

    def logits_from(self, tokens: Tensor, layer: int, hook: Hook, hidden: Tensor) -> Tensor:
        """Logits when ``hidden`` takes the place of what passes a hook point.

        The same as :meth:`logits` within an :meth:`intervene` that puts ``hidden`` there. For the residual stream the
        blocks below are not run; for the other hooks they are, because the stream goes past them. Differentiable in
        ``hidden`` if that asks for a gradient; the model's parameters are constants.

        Args:
            tokens: (batch, context): their embedding is still looked up, though nothing of it is left.
            layer, hook: the hook point.
            hidden: (batch, context, width), of any dtype and on any device.

        Returns:
            (batch, context, vocabulary) in the model's dtype.

        Raises:
            InvalidArgument: no such layer or hook; hidden of another shape.
        """
        wanted = (*tokens.shape, self.width(layer, hook))
        require(hidden.shape == wanted, "hidden", tuple(hidden.shape), f"must have the shape {wanted}")
        hidden = hidden.to(self.device, self.dtype)
        below = list(self.layers)[: layer + (hook == "resid_post")] if hook in _STREAM else []
        followed = torch.is_grad_enabled() and hidden.requires_grad
        with (
            torch.set_grad_enabled(followed),
            frozen(self.model),
            bypassed(below, self._block_returns),
            self.intervene(layer, hook, lambda _: hidden),
        ):
            return self.model(input_ids=tokens.to(self.device), use_cache=False).logits

    @cached_property
    def _block_returns(self) -> int | None:
        """Length of the tuple that a block returns, None if it returns the hidden states alone: learnt by trying."""
        found: list[int | None] = []

        def look(_: nn.Module, __: Any, output: Any) -> None:
            found.append(len(output) if isinstance(output, (tuple, list)) else None)
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
        """Within it, what passes a hook point, (batch, context, width), is replaced by ``change`` of it.

        Raises:
            InvalidArgument: no such layer or hook.
        """
        with self._point(layer, hook).changed(self.block(layer), change):
            yield


def _tilted(hidden: Tensor) -> Tensor:
    """Moved in a direction that no normalisation removes."""
    ramp = torch.linspace(-1, 1, hidden.shape[-1], device=hidden.device, dtype=hidden.dtype)
    return hidden + ramp * hidden.abs().amax().clamp_min(1)


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
