"""Run a language model over text and store its activations at one place or several, shard by shard."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from expander_theory.base import InvalidFile, progress_bar, require, require_choice, stopping
from expander_theory.results import canonical_json, locked, stored_sha256
from sae_bridge.activations._estimate import Estimate, free_bytes, parameter_bytes, require_space, seconds_per_token
from sae_bridge.activations._forward import HookCapture, Place, hidden_at
from sae_bridge.activations._shards import DTYPES, Shards, contexts_per_shard
from sae_bridge.activations._writing import PlaceWriter
from sae_bridge.activations.description import (
    KIND,
    NAME,
    SPLITS,
    VERSION,
    place_name,
    require_claimable,
    require_together,
    write_description,
)
from sae_bridge.activations.store import ActivationStore
from sae_bridge.activations.text import Contexts, TextSource
from sae_bridge.activations.token_policy import TokenPolicy
from sae_bridge.models import HOOKS, Hook, LanguageModel

Dtype = Literal["float32", "bfloat16"]

_PER_DOCUMENT = {"train": 8, "held_out": 2}
_COPIES = 4
"""Copies of a shard that are alive while it is written: rows, their hash's and the file's bytes, norms."""
_HIDDEN = 8
"""Copies of a batch's residual stream that are alive in the forward pass."""


@dataclass(frozen=True)
class Harvest:
    """What to harvest.

    Attributes:
        layer: decoder block, or None for the one at half depth.
        hook: one of :data:`sae_bridge.models.HOOKS`, such as "resid_post" or "mlp_out".
        context: tokens per context.
        train_contexts, held_out_contexts: how many of each.
        batch: contexts per forward pass (does not change the result beyond rounding; a harvest that is resumed
            with another one is not the same to the bit).
        dtype: "float32", or "bfloat16" in half the space.
        policy: which token positions count.
    """

    layer: int | None = None
    hook: Hook = "resid_post"
    context: int = 128
    train_contexts: int = 800
    held_out_contexts: int = 64
    batch: int = 8
    dtype: Dtype = "float32"
    policy: TokenPolicy = field(default_factory=TokenPolicy)

    def __post_init__(self) -> None:
        for name in ("train_contexts", "held_out_contexts", "batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(self.context >= 3, "context", self.context, "must be at least 3 tokens")
        require_choice("hook", self.hook, HOOKS)
        require_choice("dtype", self.dtype, tuple(DTYPES))

    def tap(self, model: LanguageModel, place: Place | None = None) -> HookCapture:
        """A place in a model, ready to be run: a layer and a hook; default: those of the harvest.

        Raises:
            InvalidArgument: no such layer, or one that the logits do not depend on; a context longer than the model's;
                no BOS token though the policy asks for it.
        """
        layer, hook = place or (len(model.layers) // 2 - 1 if self.layer is None else self.layer, self.hook)
        model.require_steerable(layer, hook)
        longest = model.longest_context
        allowed = f"must be at most {longest}, the positions of {model.name}"
        require(longest is None or self.context <= longest, "context", self.context, allowed)
        policy = self.policy.resolve(model.tokenizer)
        return HookCapture(model, layer, hook, policy, DTYPES[self.dtype], self.batch)

    def contexts(self, model: LanguageModel, text: TextSource, split: str) -> Contexts:
        """The contexts of a split, "train" or "held_out", with the BOS token where the policy has it.

        Raises:
            InvalidArgument: too little text, token ids that the model lacks, or a policy that keeps nothing.
        """
        require_choice("split", split, SPLITS)
        policy = self.policy.resolve(model.tokenizer)
        found = text.contexts(
            model.tokenizer,
            context=self.context,
            count=self.train_contexts if split == "train" else self.held_out_contexts,
            held_out=split == "held_out",
            per_document=_PER_DOCUMENT[split],
            bos_id=policy.bos_id,
        )
        largest = int(found.tokens.max())
        within = f"is not below the model's vocabulary {model.vocabulary}"
        require(largest < model.vocabulary, "token id", largest, within)
        counted = bool(policy.candidates(found.tokens).any())
        require(counted, "policy", self.policy, f"leaves none of the {split} tokens")
        return found


def harvest(
    model: LanguageModel, text: TextSource, what: Harvest, folder: str | os.PathLike[str], *, progress: bool = True
) -> ActivationStore:
    """Run the model over the text and store the activations; shards that are there already are kept.

    Whatever ends it, the same call goes on from the last whole shard to the same bytes. Ctrl-C and SIGTERM are taken
    between two forward passes; a second one ends at once.

    Raises:
        InvalidArgument: no such layer, too little text, no BOS token, or NaN activations.
        InvalidFile: the folder holds another harvest or damaged shards, is in use, or its disk is too small.
        OSError: full or read-only disk; it names the file, and finished shards stay.
    """
    folder = Path(folder)
    plan = _plan(text, what, {folder: what.tap(model)})
    _require_possible(plan)
    with ExitStack() as stack:
        _run(_claimed(stack, plan), plan, folder, progress)
    return ActivationStore(folder)


def harvest_places(
    model: LanguageModel,
    text: TextSource,
    what: Harvest,
    places: Sequence[Place],
    folder: str | os.PathLike[str],
    *,
    progress: bool = True,
) -> dict[str, ActivationStore]:
    """Store the activations at several places of a model, all from one forward pass a batch.

    Every place has a store in the folder, named like "layer14.resid_post", with the bytes that :func:`harvest` gives
    for it alone; contexts, tokens and documents are those of all, the limit of the norm is each place's own. A place
    that is there already is not run again, and others may be added later. Memory: a shard of each place at a time.

    Args:
        what: text, precision and policy; its layer and hook are not used.
        places: layers and hooks.

    Returns:
        The stores by name, in the order of the places.

    Raises:
        InvalidArgument: no place or one named twice; as :func:`harvest`.
        InvalidFile: the folder holds other activations, of another text, model or policy; as :func:`harvest`.
        OSError: as :func:`harvest`.
    """
    folder = Path(folder)
    require(len(places) > 0, "places", len(places), "must name at least one layer and hook")
    names = [place_name(*place) for place in places]
    require(len(set(names)) == len(names), "places", names, "must not repeat")
    plan = _plan(text, what, {folder / name: what.tap(model, place) for name, place in zip(names, places, strict=True)})
    about = next(iter(plan.descriptions.values()))
    require_together(folder, about)
    _require_possible(plan)
    with ExitStack() as stack:
        with locked(folder, "is beginning a harvest in it", folder / ".harvest.lock"):
            require_together(folder, about)
            writers = _claimed(stack, plan)
        _run(writers, plan, folder, progress)
    return {name: ActivationStore(folder / name) for name in names}


def estimate(
    model: LanguageModel,
    what: Harvest,
    tokens: int | None = None,
    folder: str | os.PathLike[str] = ".",
    places: Sequence[Place] | None = None,
) -> Estimate:
    """Disk, memory and time of a harvest of one place or several, or of so many of its tokens; from one timed batch."""
    taps = [what.tap(model, place) for place in places or [None]]
    if tokens is None:
        tokens = (what.train_contexts + what.held_out_contexts) * what.context
    return _estimate(taps, what, tokens, tokens * sum(_row_bytes(tap) for tap in taps), folder)


@dataclass(frozen=True)
class _Plan:
    """What is to be stored, by folder of the store, from the same contexts."""

    taps: Mapping[Path, HookCapture]
    what: Harvest
    contexts: Mapping[str, Contexts]
    descriptions: Mapping[Path, dict[str, Any]]


def _plan(text: TextSource, what: Harvest, taps: Mapping[Path, HookCapture]) -> _Plan:
    model = next(iter(taps.values())).model
    contexts = {split: what.contexts(model, text, split) for split in SPLITS}
    vocabulary = canonical_json(sorted(model.tokenizer.get_vocab().items()))
    common = {
        "tokenizer": type(model.tokenizer).__name__,
        "vocabulary_sha256": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "text": list(text.names),
        "text_sha256": text.sha256,
        "contexts": {split: len(contexts[split].tokens) for split in SPLITS},
        "documents": {split: len(set(contexts[split].documents.tolist())) for split in SPLITS},
        "tokens_sha256": {split: hashlib.sha256(contexts[split].tokens.tobytes()).hexdigest() for split in SPLITS},
    }
    descriptions = {
        folder: {
            "kind": KIND,
            "version": VERSION,
            "model": model.name,
            "model_fingerprint": model.fingerprint,
            "layer": tap.layer,
            "hook": tap.hook,
            "m": tap.width,
            "dtype": what.dtype,
            "context": what.context,
            "policy": tap.policy.as_fields(),
            **common,
            "contexts_per_shard": contexts_per_shard(tap.width, what.context, what.dtype),
        }
        for folder, tap in taps.items()
    }
    return _Plan(taps, what, contexts, descriptions)


def _require_possible(plan: _Plan) -> None:
    """Raise :class:`InvalidFile` for folders of other things, or too small a disk, before anything is written."""
    needed = 0
    for folder, about in plan.descriptions.items():
        require_claimable(folder, about)
        shards = Shards(folder, about)
        needed += sum(shards.bytes(*which) for which in shards.missing())
    require_space(next(iter(plan.taps)), needed)


def _claimed(stack: ExitStack, plan: _Plan) -> list[PlaceWriter]:
    """The folders of a plan made, locked on the stack and described, with what is still to be written into each."""
    shards = {folder: Shards(folder, about) for folder, about in plan.descriptions.items()}
    for folder, about in plan.descriptions.items():
        stack.enter_context(locked(folder, "is harvesting into it", folder / ".harvest.lock"))
        require_claimable(folder, about)
    for folder, about in plan.descriptions.items():
        _clear(folder)
        write_description(folder, about)
        _check(shards[folder])
    return [PlaceWriter(tap, shards[folder], plan.contexts) for folder, tap in plan.taps.items()]


def _clear(folder: Path) -> None:
    """Remove what a killed harvest left half-written: the temporary files of ``atomic_write``."""
    for pattern in (f".{NAME}.*", *(f".{split}-*.safetensors.*" for split in SPLITS)):
        for path in folder.glob(pattern):
            path.unlink()


def _check(shards: Shards) -> None:
    """Refuse shards whose file is cut short or is none of ours, before time goes into the others."""
    for split, index in shards.all():
        path = shards.path(split, index)
        if path.exists():
            try:
                stored_sha256(path)
            except InvalidFile as error:
                raise InvalidFile(path, f"{error.problem}; delete it and harvest again") from None


def _run(writers: Sequence[PlaceWriter], plan: _Plan, folder: Path, progress: bool) -> None:
    """Write every shard that is not there yet, each batch from one forward pass for all places that lack it."""
    tokens = {split: plan.contexts[split].tokens for split in SPLITS}
    todo = [
        (split, part)
        for split in SPLITS
        for part in _batches(len(tokens[split]), plan.what.batch)
        if any(writer.wants(split, part) for writer in writers)
    ]
    total = sum(tokens[split][part].size for split, part in todo)
    if total and progress:
        working = [writer.tap for writer in writers if writer.shards.missing()]
        disk = sum(writer.shards.bytes(*which) for writer in writers for which in writer.shards.missing())
        print(_estimate(working, plan.what, total, disk, folder), file=sys.stderr, flush=True)
    with (
        progress_bar(total=total, unit="token", unit_scale=True, desc="harvest", show=progress) as bar,
        stopping() as stop,
    ):
        for split, part in todo:
            if stop.asked:  # shards are whole or not there
                stop.now()
            wanting = [writer for writer in writers if writer.wants(split, part)]
            batch = torch.from_numpy(tokens[split][part]).long()
            hidden = hidden_at(wanting[0].tap.model, batch, [writer.tap.place for writer in wanting])
            for writer, found in zip(wanting, hidden, strict=True):
                writer.take(split, part, found)
            bar.update(batch.numel())


def _batches(count: int, size: int) -> list[slice]:
    """Consecutive contexts, so many a forward pass, whatever the shards of a place hold."""
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def _row_bytes(tap: HookCapture) -> int:
    return tap.width * tap.dtype.itemsize


def _estimate(
    taps: Sequence[HookCapture], what: Harvest, tokens: int, disk: int, folder: str | os.PathLike[str]
) -> Estimate:
    """From one timed batch at all places together: a shard of each is open, and one of them is being written."""
    model, places = taps[0].model, [tap.place for tap in taps]
    batch = torch.zeros(min(what.batch, -(-tokens // what.context)), what.context, dtype=torch.long)
    seconds = seconds_per_token(lambda ids: hidden_at(model, ids, places), batch)
    shards = [contexts_per_shard(tap.width, what.context, what.dtype) * what.context * _row_bytes(tap) for tap in taps]
    passing = batch.numel() * 4 * (_HIDDEN * model.m + sum(tap.width for tap in taps[1:]))
    memory = parameter_bytes(model.model) + sum(shards) + (_COPIES - 1) * max(shards) + passing
    return Estimate(tokens, disk, free_bytes(folder), memory, tokens * seconds)
