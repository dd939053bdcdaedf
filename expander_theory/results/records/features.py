"""Records of features: known ones that SAEs found or did not, scores without a judge, and what judges said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from expander_theory.results.records.base import Interval, Record
from expander_theory.results.typed import Count, Hex, Nonnegative, Share, Size

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


@dataclass(frozen=True, kw_only=True)
class AnswerRecord(Record):
    """One answer of a judge.

    Attributes:
        asked: SHA-256 of the judge and of all that it was shown.
        answer: its text.
    """

    KIND: ClassVar[str] = "answer"
    asked: Hex
    answer: str


@dataclass(frozen=True, kw_only=True)
class JudgedRecord(Record):
    """One feature's explanation and its scores, balanced accuracies; .5 is chance.

    Attributes:
        sae: name of the SAE.
        feature: its number.
        shown: SHA-256 of the texts that the judge saw of it.
        explanation: the judge's.
        detection: from the explanation, in which texts is it active? None where no answer could be read.
        fuzzing: from the explanation, are the marked tokens those on which it is active?
        unread: questions of both tests whose answer could not be read.
        questions: how many there were.
    """

    KIND: ClassVar[str] = "judged"
    sae: str
    feature: Count
    shown: Hex
    explanation: str
    detection: Share | None
    fuzzing: Share | None
    unread: Count
    questions: Count


@dataclass(frozen=True, kw_only=True)
class PlantedRecord(Record):
    """Known features, and what theory and OMP say of their own dictionary.

    Attributes:
        condition: name of the law.
        label: in tables.
        law: its parameters.
        m, n: width of the activations, number of features.
        structure: of the features: "dense", "expander", "block".
        d: rows of a feature that is not dense; None where all are.
        tokens: of the held-out sample.
        l0: features a token, mean.
        coherence: of the features' dictionary.
        certified_k: OMP recovers every code this sparse (Tropp 2004; THEORY.md OMP-3).
        supports: true supports that were examined, without noise.
        guaranteed: share of them with ERC < 1, on which OMP recovers every code (THEORY.md OMP-1).
        recovered: share on which OMP, told their size, returns the true support from the true activation.
        guaranteed_interval, recovered_interval: 95 %, Clopper-Pearson.
    """

    KIND: ClassVar[str] = "planted"
    condition: str
    label: str
    law: dict[str, Any]
    m: Size
    n: Size
    structure: Literal["dense", "expander", "block"]
    d: Size | None = None
    tokens: Count
    l0: Nonnegative
    coherence: Nonnegative
    certified_k: Count
    supports: Count
    guaranteed: Share
    guaranteed_interval: Interval
    recovered: Share
    recovered_interval: Interval


@dataclass(frozen=True, kw_only=True)
class TruthRecord(Record):
    """What one SAE found of known features.

    Attributes:
        condition: name of the law of its activations.
        name: of the SAE, the same in every condition.
        label: in tables.
        role: "trained"; "known", the true directions with some encoder; "null", a code that has learned nothing.
        encoder: "topk", "batch_topk", "omp", "omp_nonnegative".
        decoder: "dense", "expander", "block".
        seed: of the SAE; the law has its own.
        n, k: of the SAE.
        decoder_values: learned nonzeros.
        steps: of the training, 0 without one.
        fvu, l0: of the held-out sample.
        true_l0: features a token, mean.
        alive: share of columns that fire.
        mcc: mean |cosine| of columns and features after the Hungarian assignment.
        found: share of features whose column has |cosine| >= .9.
        precision, recall, f1: of firing, means over features; a feature without a column counts as 0.
        f1_thresholded: the same with each column's best threshold, chosen on another sample.
        f1_by_column: mean over columns of the F1 against the feature of largest |cosine|, as in SynthSAEBench.
        split: share of features with two columns of |cosine| >= .5 that fire.
        absorbed: share of pairs of parent and child in which the child's column has taken over the parent; None
            without a hierarchy.
        judged: how many pairs that is of.
    """

    KIND: ClassVar[str] = "truth"
    condition: str
    name: str
    label: str
    role: Literal["trained", "known", "null"]
    encoder: str
    decoder: str
    seed: Count
    n: Size
    k: Size
    decoder_values: Count
    steps: Count
    fvu: Nonnegative
    l0: Nonnegative
    true_l0: Nonnegative
    alive: Share
    mcc: Share
    found: Share
    precision: Share
    recall: Share
    f1: Share
    f1_thresholded: Share
    f1_by_column: Share
    split: Share
    absorbed: Share | None = None
    judged: Count


@dataclass(frozen=True, kw_only=True)
class AgreementRecord(Record):
    """How alike the columns of two SAEs are that differ in their seed alone.

    Attributes:
        condition: name of the law, or of the setting on real activations.
        name: of the SAE.
        seeds: of the two.
        mcc: mean |cosine| of their columns after the Hungarian assignment.
    """

    KIND: ClassVar[str] = "agreement"
    condition: str
    name: str
    seeds: tuple[Count, Count]
    mcc: Share
