"""The streams that a command trains on, one place of a model after another: from stores, or without."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sae_bridge.activations import (
    ActivationStore,
    Harvest,
    LiveStream,
    Place,
    StoredStream,
    TextSource,
    place_name,
    stores_in,
)
from sae_bridge.models import LanguageModel


@dataclass(frozen=True)
class Order:
    """How a stream is shuffled.

    Attributes:
        batch: tokens per step.
        seed: of the order.
        memory: GiB of a window.
    """

    batch: int
    seed: int
    memory: float

    @property
    def memory_bytes(self) -> int:
        """Of a window."""
        return int(self.memory * 2**30)


@dataclass(frozen=True)
class Source:
    """One place's stream.

    Attributes:
        place: the folder of its SAEs; "." where there is one place alone.
        stream: its batches.
        about: the model, layer, hook and context length, for the fields of SAEs.
    """

    place: str
    stream: StoredStream | LiveStream
    about: dict[str, Any]


def stored_sources(stores: dict[str, ActivationStore], order: Order) -> Iterator[Source]:
    """A stream of each store; the former is let go when the next is asked for."""
    for name, store in stores.items():
        about = {key: store.description[key] for key in ("model", "model_fingerprint", "layer", "hook", "context")}
        with StoredStream(store, order.batch, order.seed, order.memory_bytes) as stream:
            yield Source(name, stream, about)


def live_sources(
    model: LanguageModel, text: TextSource, what: Harvest, places: Sequence[Place], order: Order
) -> Iterator[Source]:
    """A stream of each place straight from the model, which makes the next window while one is trained on.

    The contexts are those of a harvest, and every place runs the model by itself.
    """
    contexts = what.contexts(model, text, "train")
    for layer, hook in places:
        at = replace(what, layer=layer, hook=hook)
        name = place_name(layer, hook) if len(places) > 1 else "."
        with LiveStream(model, contexts, at, order.batch, order.seed, order.memory_bytes, prefetch=True) as stream:
            yield Source(name, stream, stream.about)


def chosen_stores(folder: Path, places: Sequence[str]) -> dict[str, ActivationStore]:
    """The stores of a folder, or those that are named.

    Raises:
        InvalidArgument: a place that is not there, or one named twice.
        InvalidFile: as :func:`sae_bridge.activations.stores_in`.
    """
    from expander_theory.base import require

    require(len(set(places)) == len(places), "place", list(places), "must not repeat")
    return stores_in(folder, places or None)
