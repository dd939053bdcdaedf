"""What the identities of this project's ledgers hold, and their lines of provenance: held to a type when read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from expander_theory.results.typed import Count, Integer, Size, Where, typed


class Provenance(TypedDict, total=False):
    """Which code and machine the records after it come from."""

    time: str
    arguments: list[str]
    commit: str | None
    packages: dict[str, str]
    python: str
    platform: str
    processor: str
    shard: str


class _SweepIdentity(TypedDict, total=False):
    seed: Integer
    shard: str


class _RecipeSizes(TypedDict):
    n: Size
    k: Size
    steps: Size


class _SaeIdentity(TypedDict):
    model: str
    m: Size
    layer: Count
    hook: str
    activations_sha256: str
    recipe: _RecipeSizes
    batch: NotRequired[Size]
    context: NotRequired[Size]
    contexts: NotRequired[dict[str, Size]]
    documents: NotRequired[dict[str, Size]]


class _OnDecoders(TypedDict):
    model: str
    m: Size
    n: Size
    activations_sha256: str


class _FinetuneIdentity(_OnDecoders):
    layer: Count
    context: Size
    training_steps: Size
    training_batch: Size


class _RecoveryIdentity(TypedDict):
    model: str
    supports: Size
    planted_trials: Size


class _BoundaryIdentity(TypedDict):
    method: str
    n: Size
    resolution: float
    max_trials: Size


class _CostIdentity(TypedDict):
    centre: tuple[Size, Size, Size]
    k: Size
    repeats: Size


class _IdentifiabilityIdentity(TypedDict):
    n: Size
    d: Size
    k: Size


class _ComparisonIdentity(TypedDict):
    laws: list[str]


IDENTITY_TYPES: dict[str, Any] = {
    "sweep": _SweepIdentity,
    "phase boundary": _BoundaryIdentity,
    "solver comparison": _ComparisonIdentity,
    "cost": _CostIdentity,
    "identifiability": _IdentifiabilityIdentity,
    "sae suite": _SaeIdentity,
    "amortisation": _OnDecoders,
    "novelty": _OnDecoders,
    "finetune": _FinetuneIdentity,
    "recovery": _RecoveryIdentity,
}


def check_identity(path: Where, identity: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidFile` unless an identity of a kind of this project has what its readers need."""
    kind = identity.get("kind")
    if isinstance(kind, str) and kind in IDENTITY_TYPES:
        typed(path, identity, IDENTITY_TYPES[kind], "line 1: identity")
