"""Text that a language model writes itself: activations of what it knows, where its training text is not at hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidFile, generator, progress_bar, require, require_int
from expander_theory.results import atomic_write, read_json
from sae_bridge.models.language_models import LanguageModel

ABOUT = "sampling.json"
_MOST = 1_000_000
_AT_ONCE = 32
"""Documents in one file, sampled together: what an interruption can lose."""


def sample_text(
    model: LanguageModel,
    folder: Path,
    *,
    documents: int,
    tokens: int = 256,
    temperature: float = 1.0,
    seed: int = 0,
    progress: bool = True,
) -> list[Path]:
    """Sample documents into ``.jsonl`` files, which :class:`sae_bridge.activations.TextSource` reads; resumes.

    Each begins after the tokenizer's BOS token (EOS, where it has none) and ends before the next of either. Its draws
    come from a stream of its own, so it is the same however many are sampled.

    Args:
        folder: for the files and :data:`ABOUT`; the same call resumes it, another one is refused.
        documents: how many, 1 to a million; rounded up to whole files of 32.
        tokens: of a document at most, the first included; within the model's context.
        temperature: of the distribution of the next token, above 0; 1 is the model's own.
        seed: of the draws.

    Raises:
        InvalidArgument: a number out of range, or a tokenizer with neither BOS nor EOS.
        InvalidFile: the folder holds text of another model or other settings.
    """
    documents, tokens = require_int("documents", documents), require_int("tokens", tokens)
    require(documents >= 1, "documents", documents, "must be at least 1")
    require(documents <= _MOST, "documents", documents, f"must be at most {_MOST}")
    longest = model.longest_context or tokens
    require(2 <= tokens <= longest, "tokens", tokens, f"must be between 2 and the model's context of {longest}")
    require(0 < temperature < np.inf, "temperature", temperature, "must be positive")
    ends = [i for i in (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id) if i is not None]
    require(bool(ends), "model", model.name, "has a tokenizer with neither BOS nor EOS: nothing to begin with")
    about = {"model_fingerprint": model.fingerprint, "tokens": tokens, "temperature": temperature, "seed": seed}
    _claim(folder, about)
    paths = [folder / f"documents-{block:05d}.jsonl" for block in range(-(-documents // _AT_ONCE))]
    todo = [block for block, path in enumerate(paths) if not path.is_file()]
    with progress_bar(total=len(todo) * _AT_ONCE, unit="document", desc="sample", show=progress and bool(todo)) as bar:
        for block in todo:
            numbers = range(block * _AT_ONCE, (block + 1) * _AT_ONCE)
            draws = np.stack([generator(seed, f"sampled document {number}").random(tokens) for number in numbers])
            lines = [
                json.dumps({"text": model.tokenizer.decode(ids)})
                for ids in _sample(model, draws, ends, temperature)
                if ids
            ]
            atomic_write(paths[block], "".join(f"{line}\n" for line in lines).encode())
            bar.update(_AT_ONCE)
    return paths


def _claim(folder: Path, about: dict[str, object]) -> None:
    path = folder / ABOUT
    if not path.is_file():
        atomic_write(path, json.dumps(about, indent=1).encode())
    elif read_json(path, dict[str, Any]) != about:
        raise InvalidFile(path, "belongs to text of another model, length, temperature or seed: choose another folder")


@torch.no_grad()
def _sample(model: LanguageModel, draws: NDArray[np.float64], ends: list[int], temperature: float) -> list[list[int]]:
    """Token ids of a document for each row of ``draws``: uniform numbers, turned into tokens by the inverse CDF."""
    import transformers

    uniform = torch.from_numpy(draws).to(model.device)

    def draw(before: Tensor, logits: Tensor) -> Tensor:
        shares = (logits.double() / temperature).softmax(dim=1).cumsum(dim=1)
        step = before.shape[1] - 1
        drawn = torch.searchsorted(shares, uniform[:, step : step + 1] * shares[:, -1:])
        return torch.zeros_like(logits).scatter(1, drawn.clamp_max(logits.shape[1] - 1), 1.0)  # the largest is taken

    network: Any = model.model
    written = network.generate(
        torch.full((len(draws), 1), ends[0], device=model.device),
        generation_config=transformers.GenerationConfig(
            do_sample=False, max_new_tokens=draws.shape[1] - 1, eos_token_id=ends, pad_token_id=int(ends[0] == 0)
        ),
        logits_processor=transformers.LogitsProcessorList([draw]),
    )
    return [list(itertools.takewhile(lambda i: i not in ends, row)) for row in written[:, 1:].tolist()]
