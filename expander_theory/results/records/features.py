"""Records of what can be said of the features of one SAE, or of a code that has learned nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from expander_theory.results.records.base import Record
from expander_theory.results.typed import Count, Nonnegative, Share, Size

Quartiles = tuple[float, float, float]
"""Lower quartile, median, upper quartile."""


@dataclass(frozen=True, kw_only=True)
class ProbePoint:
    """Balanced accuracy of probes on k features, mean over labels, with its 95 % bootstrap interval over test texts."""

    k: Size
    accuracy: Share
    low: Share
    high: Share


@dataclass(frozen=True, kw_only=True)
class FeaturesRecord(Record):
    """Scores of the features of one SAE; units are features, two of each where codes have signs.

    Attributes:
        name: of the SAE.
        variant: the same for all seeds.
        label: in figures.
        role: "trained", or "null": a code that has learned nothing.
        seed: of the SAE; 0 for a null.
        encoder: "tied", "untied", "omp", "omp_nonnegative".
        architecture: "dense", "expander", "block".
        n, d, k: of the SAE.
        decoder_values: learned nonzeros; of a null what it takes from data.
        bytes_packed: parameters as bfloat16, supports packed; 0 for a null.
        units: that fire often enough to be scored.
        token_auc, window_auc: how well the current token, and it with the preceding ones, predict firing.
        tokens: share of units that are a token, a token AUC of .95 or more; None without units.
        entropy: of the tokens on which a unit fires, bits.
        identified: share of units whose firings in one half of the documents are more like those in the other half than
            like any other unit's.
        probes: by k; empty where nothing was probed.
        activations_sha256: content hash of the activations.
    """

    KIND: ClassVar[str] = "features"
    name: str
    variant: str
    label: str
    role: Literal["trained", "null"]
    seed: Count
    encoder: str
    architecture: str
    n: Size
    d: Size
    k: Size
    decoder_values: Count
    bytes_packed: Count
    units: Count
    token_auc: Quartiles | None
    window_auc: Quartiles | None
    tokens: Share | None
    entropy: tuple[Nonnegative, Nonnegative, Nonnegative] | None
    identified: Share | None
    probes: tuple[ProbePoint, ...]
    activations_sha256: str


@dataclass(frozen=True, kw_only=True)
class RawProbesRecord(Record):
    """Probes on what needs no SAE, beside those of :class:`FeaturesRecord`.

    Attributes:
        label: "coordinates", "principal components", of which k are chosen, or "all coordinates".
        probes: by k.
    """

    KIND: ClassVar[str] = "raw-probes"
    label: str
    probes: tuple[ProbePoint, ...]
