"""Add a feature to the activations at a hook point, or take it away, and see what the language model says then."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import derived_seed, require, require_int
from sae_bridge.evaluation import AnySAE
from sae_bridge.features import directions
from sae_bridge.models import Hook, LanguageModel

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Place:
    """Where activations are changed: a hook point of a layer."""

    model: LanguageModel
    layer: int
    hook: Hook

    def changed(self, change: Change | None) -> AbstractContextManager[None]:
        """Within it, all positions but the first are changed; the first one's activation is unlike all others."""
        if change is None:
            return nullcontext()
        return self.model.intervene(self.layer, self.hook, _after_first(change))


def _after_first(change: Change) -> Change:
    def changed(hidden: Tensor) -> Tensor:
        rest = hidden[:, 1:]
        if not rest.shape[1]:
            return hidden
        new = change(rest.reshape(-1, rest.shape[-1])).reshape(rest.shape).to(hidden.dtype)
        return torch.cat([hidden[:, :1], new], dim=1)

    return changed


def added(sae: AnySAE, feature: int, amount: float) -> Change:
    """h plus ``amount`` units of a feature's activation, whatever the feature's own one is.

    Raises:
        InvalidArgument: no such feature, or an amount that is not finite.
    """
    _require_feature(sae, feature)
    require(bool(np.isfinite(amount)), "amount", amount, "must be finite")
    direction = amount * directions(sae, np.array([feature]))[0]
    return lambda h: h + direction.to(h.device, h.dtype)


def removed(sae: AnySAE, feature: int) -> Change:
    """h less what the SAE's code has of a feature; where it does not fire nothing changes.

    Raises:
        InvalidArgument: no such feature.
    """
    _require_feature(sae, feature)
    direction = directions(sae, np.array([feature]))[0]

    def change(h: Tensor) -> Tensor:
        acts, indices = sae.encode(h.to(sae.device, sae.weight.dtype))
        own = torch.where(indices == feature, acts, 0).sum(dim=1).to(h.device, h.dtype)
        return h - own[:, None] * direction.to(h.device, h.dtype)

    return change


@dataclass(frozen=True)
class NextTokens:
    """The distribution of the next token before and after a change, float32 (vocabulary,) each."""

    before: Tensor
    after: Tensor

    @property
    def kl(self) -> float:
        """KL(before || after), nats."""
        p, q = self.before.double(), self.after.double()
        kept = p > 0
        return float((p[kept] * (p[kept] / q[kept].clamp_min(1e-300)).log()).sum())

    def moved(self, count: int) -> tuple[list[int], list[int]]:
        """Tokens whose probability grows, and falls, most."""
        change = self.after - self.before
        count = min(count, len(change))
        return change.topk(count).indices.tolist(), (-change).topk(count).indices.tolist()


@torch.no_grad()
def next_tokens(place: Place, tokens: Tensor, change: Change) -> NextTokens:
    """The next token's distribution after a prompt (context,), without and with the change.

    Raises:
        InvalidArgument: a prompt of fewer than two tokens, of which nothing is changed.
    """
    require(len(tokens) >= 2, "tokens", f"{len(tokens)} of them", "must be at least 2: the first is not changed")
    found = []
    for one in (None, change):
        with place.changed(one):
            found.append(place.model.logits(tokens[None])[0, -1].float().cpu().softmax(dim=0))
    return NextTokens(*found)


@torch.no_grad()
def sampled(
    place: Place, tokens: Tensor, change: Change | None, count: int, *, temperature: float, seed: int
) -> Tensor:
    """A continuation of a prompt, (count,) token ids; the same draws for the same seed, whatever the change.

    Args:
        place: where the change acts, on every position but the first, of the continuation too.
        tokens: the prompt, (context,).
        change: None for the model as it is.
        count: tokens to add, at least 1; fewer where the model's context ends.
        temperature: of the distribution; 0 takes the most likely token.
        seed: of the draws.

    Raises:
        InvalidArgument: a count below 1 or a negative temperature.
    """
    require(require_int("count", count) >= 1, "count", count, "must be at least 1")
    require(temperature >= 0, "temperature", temperature, "must not be negative")
    rng = np.random.Generator(np.random.Philox(derived_seed(seed, "steered text")))
    longest, start = place.model.longest_context, len(tokens)
    for draw in rng.random(count):
        if longest is not None and len(tokens) >= longest:
            break
        with place.changed(change):
            logits = place.model.logits(tokens[None])[0, -1].double().cpu()
        if temperature == 0:
            chosen = int(logits.argmax())
        else:
            share = (logits / temperature).softmax(dim=0).cumsum(dim=0)
            chosen = min(int((share < draw * share[-1]).sum()), len(share) - 1)
        tokens = torch.cat([tokens, tokens.new_tensor([chosen])])
    return tokens[start:]


def _require_feature(sae: AnySAE, feature: int) -> None:
    require(
        0 <= require_int("feature", feature) < sae.n, "feature", feature, f"must be between 0 and n - 1 = {sae.n - 1}"
    )
