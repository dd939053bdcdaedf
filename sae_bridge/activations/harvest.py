"""Run a language model over text and store its residual stream, shard by shard."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from expander_theory.base import InvalidFile, progress_bar, require, require_choice
from expander_theory.results import canonical_json, locked, stored_sha256
from sae_bridge.activations._estimate import Estimate, free_bytes, parameter_bytes, require_space, seconds_per_token
from sae_bridge.activations._forward import HookCapture
from sae_bridge.activations._shards import DTYPES, Shard, Shards, contexts_per_shard
from sae_bridge.activations.description import KIND, NAME, SPLITS, VERSION, require_claimable, write_description
from sae_bridge.activations.store import ActivationStore
from sae_bridge.activations.text import Contexts, TextSource
from sae_bridge.activations.token_policy import TokenPolicy
from sae_bridge.models import HOOKS, Hook, LanguageModel

Dtype = Literal["float32", "bfloat16"]

_PER_DOCUMENT = {"train": 8, "held_out": 2}
_COPIES = 4
"""Copies of a shard that are alive while it is written: rows, their hash's and the file's bytes, norms."""


@dataclass(frozen=True)
class Harvest:
    """What to harvest.

    Attributes:
        layer: decoder block, or None for the one at half depth.
        hook: "resid_pre" or "resid_post".
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

    def tap(self, model: LanguageModel) -> HookCapture:
        """The place of the harvest in a model, ready to be run.

        Raises:
            InvalidArgument: no such layer, or one that the logits do not depend on; a context longer than the model's;
                no BOS token though the policy asks for it.
        """
        layer = len(model.layers) // 2 - 1 if self.layer is None else self.layer
        model.require_steerable(layer, self.hook)
        longest = model.longest_context
        allowed = f"must be at most {longest}, the positions of {model.name}"
        require(longest is None or self.context <= longest, "context", self.context, allowed)
        policy = self.policy.resolve(model.tokenizer)
        return HookCapture(model, layer, self.hook, policy, DTYPES[self.dtype], self.batch)

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

    Whatever ends it, the same call goes on from the last whole shard to the same bytes.

    Raises:
        InvalidArgument: no such layer, too little text, no BOS token, or NaN activations.
        InvalidFile: the folder holds another harvest or damaged shards, is in use, or its disk is too small.
        OSError: full or read-only disk; it names the file, and finished shards stay.
    """
    folder = Path(folder)
    tap = what.tap(model)
    contexts = {split: what.contexts(model, text, split) for split in SPLITS}
    description = _description(tap, text, what, contexts)
    require_claimable(folder, description)
    shards = Shards(folder, description)
    require_space(folder, _disk(shards, tap, what))
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "is harvesting into it", folder / ".harvest.lock"):
        require_claimable(folder, description)
        _clear(folder)
        write_description(folder, description)
        _check(shards)
        _run(shards, tap, what, contexts, progress)
    return ActivationStore(folder)


def estimate(
    model: LanguageModel, what: Harvest, tokens: int | None = None, folder: str | os.PathLike[str] = "."
) -> Estimate:
    """Disk, memory and time of a harvest, or of so many of its tokens; the time from one timed batch."""
    tap = what.tap(model)
    if tokens is None:
        tokens = (what.train_contexts + what.held_out_contexts) * what.context
    row = model.m * tap.dtype.itemsize
    shard = contexts_per_shard(model.m, what.context, what.dtype) * what.context * row
    contexts = min(what.batch, -(-tokens // what.context))
    batch = torch.zeros(contexts, what.context, dtype=torch.long)
    seconds = seconds_per_token(lambda ids: model.activations(ids, tap.layer, tap.hook), batch)
    memory = parameter_bytes(model.model) + _COPIES * shard + 8 * batch.numel() * model.m * 4
    return Estimate(tokens, tokens * row, free_bytes(folder), memory, tokens * seconds)


def _description(tap: HookCapture, text: TextSource, what: Harvest, contexts: dict[str, Contexts]) -> dict[str, Any]:
    model = tap.model
    vocabulary = canonical_json(sorted(model.tokenizer.get_vocab().items()))
    return {
        "kind": KIND,
        "version": VERSION,
        "model": model.name,
        "model_fingerprint": model.fingerprint,
        "layer": tap.layer,
        "hook": tap.hook,
        "m": model.m,
        "dtype": what.dtype,
        "context": what.context,
        "policy": tap.policy.as_fields(),
        "tokenizer": type(model.tokenizer).__name__,
        "vocabulary_sha256": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "text": list(text.names),
        "text_sha256": text.sha256,
        "contexts": {split: len(contexts[split].tokens) for split in SPLITS},
        "documents": {split: len(set(contexts[split].documents.tolist())) for split in SPLITS},
        "tokens_sha256": {split: hashlib.sha256(contexts[split].tokens.tobytes()).hexdigest() for split in SPLITS},
        "contexts_per_shard": contexts_per_shard(model.m, what.context, what.dtype),
    }


def _disk(shards: Shards, tap: HookCapture, what: Harvest) -> int:
    """Bytes of the shards that are missing, at most."""
    parts = [shards.contexts(split, index) for split, index in shards.missing()]
    token = tap.model.m * tap.dtype.itemsize + 5  # an activation, an id, and whether it counts
    return sum(part.stop - part.start for part in parts) * what.context * token


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


def _run(shards: Shards, tap: HookCapture, what: Harvest, contexts: dict[str, Contexts], progress: bool) -> None:
    """Write every shard that is not there yet."""
    todo = shards.missing()
    total = sum(contexts[split].tokens[shards.contexts(split, index)].size for split, index in todo)
    if total and progress:
        print(estimate(tap.model, what, total, shards.folder), file=sys.stderr, flush=True)
    with progress_bar(total=total, unit="token", unit_scale=True, desc="harvest", show=progress) as bar:
        limit = None if ("train", 0) in todo else shards.read("train", 0).norm_limit
        for split, index in todo:
            part = shards.contexts(split, index)
            tokens = contexts[split].tokens[part]
            if limit is None:
                rows, kept, limit = tap.first_rows(tokens, bar.update)
            else:
                rows, kept = tap.rows(tokens, limit, bar.update)
            shards.write(split, index, Shard(tokens, contexts[split].documents[part], kept, rows, limit))
