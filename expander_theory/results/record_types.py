"""What the records of this project's ledgers hold: every line that is read is held to its type, here and once.

A record's type follows from the kind that the ledger's identity names and from the keys that the record has. Ledgers
of other kinds, and records with none of the keys, are anybody's: they may hold what they like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

from expander_theory.results.typed import Count, Integer, Nonnegative, Share, Size, Where, typed

Interval = tuple[float, float] | None
Outcome = Annotated[str, msgspec.Meta(pattern=r"\A[01]+\Z")]
FractionText = Annotated[str, msgspec.Meta(pattern=r"\A-?[0-9]{1,4000}(/[1-9][0-9]{0,3999})?\Z")]


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


class _Task(TypedDict):
    task: str
    content: dict[str, Any]


class _Block(TypedDict):
    task: str
    block: Count
    outcome: Outcome
    fraction: Share | None
    error: Nonnegative | None


class _Failure(TypedDict):
    task: str
    block: Count
    failed: str
    attempts: Count


class _Certificate(TypedDict):
    certified_k: Count
    draw: Count
    family: NotRequired[str]
    m: NotRequired[Size]
    n: NotRequired[Size]
    d: NotRequired[Size]


_Timing = TypedDict(
    "_Timing",
    {"part": str, "workers": Size, "seconds": Nonnegative, "processor seconds": Nonnegative, "trials timed": Count},
)


class _Attack(TypedDict):
    id: str
    mutant: bool
    tried: Count
    met: Count
    met_rate: Share
    floor: Share
    verdict: str
    as_expected: bool
    seconds: Nonnegative
    smallest_slack: str | None
    smallest_slack_value: float | None
    found_by: str
    counterexample: str | None
    violation: str | None


class _CertifiedPart(TypedDict):
    family: str
    m_asked: Size
    n: Size
    d: Size
    part: str
    impossible: NotRequired[str]
    m: NotRequired[Size]
    recipe: NotRequired[str]
    eps: NotRequired[dict[str, tuple[FractionText, FractionText]]]
    range_thresholds: NotRequired[dict[str, tuple[float, float]]]
    erc: NotRequired[list[dict[str, float]]]
    mu: NotRequired[float]
    babel: NotRequired[list[float]]
    largest_overlap: NotRequired[Count]
    k_identifiable: NotRequired[Count]
    k_coherence: NotRequired[Count]
    k_babel: NotRequired[Count]


class _Coverage(TypedDict):
    scenario: str
    first: Count
    sweeps: Count
    held: dict[str, tuple[Count, Count]]
    trials: dict[str, Count]


class _Cost(TypedDict):
    m: Size
    n: Size
    d: Size
    methods: dict[str, dict[str, Nonnegative]]


class _Identifiability(TypedDict):
    m: Size
    draw: Count
    flatness: float
    eps: float
    bound: float
    margin: float
    unique: bool


class _Expansion(TypedDict):
    size: Size
    lower: float
    upper: float
    status: str


_Mask = TypedDict(
    "_Mask",
    {
        "name": str,
        "m": Size,
        "n": Size,
        "d": Size,
        "row degree, least": Count,
        "row degree, largest": Count,
        "largest overlap": Count,
        "coherence mu": float,
        "k certified by Babel (OMP-3)": Count,
        "expansion": list[_Expansion],
    },
)


class _Measured(TypedDict):
    """What every measured SAE or null code has."""

    architecture: str
    m: Size
    n: Size
    d: Size
    k: Size
    decoder_values: Count
    fvu: float
    fvu_interval: Interval
    l0: float
    dead: Count
    delta: float
    delta_interval: Interval
    recovered_zero: float | None
    recovered_zero_interval: Interval
    ce_by_context: NotRequired[list[float]]
    relative_error: NotRequired[float]
    relative_error_interval: NotRequired[Interval]
    ce: NotRequired[float]
    kl: NotRequired[float]
    variant: NotRequired[str]
    family: NotRequired[str]
    pruned: NotRequired[str]
    seed: NotRequired[Count]
    parameters: NotRequired[Count]
    bytes_float32: NotRequired[Count]
    bytes_packed: NotRequired[Count]
    bytes_seeded: NotRequired[Count]
    omp_fvu: NotRequired[float]
    geometry: NotRequired[dict[str, float | None]]
    firing: NotRequired[dict[str, float | None]]
    collisions: NotRequired[dict[str, Any] | None]
    curve: NotRequired[list[tuple[Count, float, Count]]]
    learning_rate: NotRequired[float | None]


class _Sae(_Measured):
    name: str


class _Null(_Measured):
    null: str
    label: str


class _Group(TypedDict):
    group: str
    member: str
    variant: str
    label: str
    order: Count


class _Pair(TypedDict):
    pair: str
    to: str
    ratio: float | None
    ratio_interval: Interval
    ce_difference: float
    ce_difference_interval: Interval


class _Baselines(TypedDict):
    baselines: dict[str, Any]


class _Decoder(TypedDict):
    """What is common to records about one decoder."""

    name: str
    label: str
    d: Size
    k: Size
    dense: bool


class _InferenceRow(TypedDict):
    method: str
    nonnegative: bool
    l0: float
    fvu: float
    relative_error: float
    overlap: float
    seconds: Nonnegative
    recovered_zero: NotRequired[float | None]
    delta: NotRequired[float]


class _Amortisation(_Decoder):
    variant: str
    seed: Count
    rows: list[_InferenceRow]


class _BySize(TypedDict):
    size: Size
    supports: Size
    guaranteed: float
    own: float


class _Calibration(TypedDict):
    erc_from: float
    erc_to: float | None
    supports: Count
    predicted: str
    own: float
    signs: float
    gaussian: float


class _PlantedRate(TypedDict):
    k: Size
    trials: Size
    successes: Count
    low: float
    high: float


_Measures = TypedDict(
    "_Measures",
    {
        "flatness C, largest": float,
        "coherence mu": float,
        "Babel mu_1(1..)": list[float],
        "k certified by coherence (OMP-2)": Count,
        "k certified by Babel (OMP-3)": Count,
    },
)


class _Recovery(_Decoder):
    contradictions: Count
    measures: _Measures
    planted: dict[str, list[_PlantedRate]]
    by_size: Annotated[list[_BySize], msgspec.Meta(min_length=1)]
    calibration: list[_Calibration]
    cumulative_coherence: dict[str, list[tuple[Size, float]]]


class _Novelty(_Decoder):
    tokens: Size
    alive: Count
    jaccard_novel: float
    null_novel: float
    jaccard_median: float
    null_median: float
    cosine_novel: float
    cosine_median: float
    entropy_median: float
    entropy_quartiles: tuple[float, float]
    tenths: list[dict[str, float | None]]


class _Stage(TypedDict):
    stage: str
    seconds: Nonnegative


class _Step(TypedDict):
    step: Count
    fvu: float
    l0: float
    dead: Count
    seconds: Nonnegative


class _Rate(TypedDict):
    name: str
    learning_rate: Annotated[float, msgspec.Meta(gt=0)]
    fvu: float | None


_SWEEP = (({"outcome", "block"}, _Block), ({"failed"}, _Failure), ({"content", "task"}, _Task),
          ({"certified_k"}, _Certificate), ({"part"}, _Timing))  # fmt: skip
_ANY_SWEEP = ("sweep", "phase transition", "phase boundary", "synthetic study", "solver comparison")
_SUITE = (({"null"}, _Null), ({"name"}, _Sae), ({"group"}, _Group), ({"pair"}, _Pair), ({"baselines"}, _Baselines))

RECORD_TYPES: dict[str, tuple[tuple[set[str], Any], ...]] = {
    **dict.fromkeys(_ANY_SWEEP, _SWEEP),
    "attack": ((set(), _Attack),),
    "certified": ((set(), _CertifiedPart),),
    "coverage": ((set(), _Coverage),),
    "cost": ((set(), _Cost),),
    "identifiability": ((set(), _Identifiability),),
    "mask geometry": ((set(), _Mask),),
    "sae suite": _SUITE,
    "sae comparison": _SUITE,
    "amortisation": ((set(), _Amortisation),),
    "recovery": ((set(), _Recovery),),
    "novelty": ((set(), _Novelty),),
    "reproduce": ((set(), _Stage),),
    "sae training": ((set(), _Step),),
    "learning rates": ((set(), _Rate),),
}
"""By the ledger's kind: keys that a record has, and its type then; the first that fits."""


def check_record(path: Where, line: int, kind: Any, record: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidFile`, with the line and the field, unless a record is what its ledger's kind says."""
    default = _SWEEP[:3] if isinstance(record.get("task"), str) else ()
    for keys, wanted in RECORD_TYPES.get(kind, default) if isinstance(kind, str) else default:
        if keys <= record.keys():
            typed(path, record, wanted, f"line {line}")
            return


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


class _ComparisonOfSaes(TypedDict):
    model: str
    layer: Count
    hook: str
    activations_sha256: str
    recipe: NotRequired[dict[str, Any]]
    context: Size
    contexts: dict[str, Size]
    documents: dict[str, Size]


class _OnDecoders(TypedDict):
    model: str
    m: Size
    n: Size
    activations_sha256: str


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
    "sae comparison": _ComparisonOfSaes,
    "amortisation": _OnDecoders,
    "novelty": _OnDecoders,
    "recovery": _RecoveryIdentity,
}


def check_identity(path: Where, identity: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidFile` unless an identity of a kind of this project has what its readers need."""
    kind = identity.get("kind")
    if isinstance(kind, str) and kind in IDENTITY_TYPES:
        typed(path, identity, IDENTITY_TYPES[kind], "line 1: identity")
