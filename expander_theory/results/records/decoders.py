"""Records about the decoder of one trained sparse autoencoder (SAE): inference, recovery, novelty of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec

from expander_theory.results.records.base import Interval, Record
from expander_theory.results.records.evaluation import Positions, Resample
from expander_theory.results.records.masks import DictionaryMeasures
from expander_theory.results.typed import Count, Nonnegative, Size


@dataclass(frozen=True, kw_only=True)
class DecoderRecord(Record):
    """What is common to records about one decoder.

    Attributes:
        name: of the SAE.
        label: in figures.
        d: nonzeros of a column.
        k: active features that the SAE is made for.
        dense: whether it has no mask.
    """

    name: str
    label: str
    d: Size
    k: Size
    dense: bool


@dataclass(frozen=True, kw_only=True)
class InferenceRow:
    """Codes of one method on a frozen decoder, on held-out tokens; intervals are 95 % bootstrap.

    Losses, in nats a token, are None where the method was not run in the language model; they mean what they mean in
    :class:`expander_theory.results.Measurement`.

    Attributes:
        method: such as "encoder" or "omp".
        nonnegative: whether its codes are nonnegative.
        comparable: whether they are of the encoder's class.
        fvu: fraction of variance unexplained.
        relative_error: mean of ||h - h_hat|| / ||h||.
        l0: mean number of nonzero code entries.
        overlap: mean number of features shared with the encoder's code, as a share of k.
        jaccard: mean Jaccard similarity with the encoder's support.
        below_k: share of tokens with fewer than k active features.
        above_k: share of tokens with more.
        seconds: of coding all tokens.
        k: of the SAE.
        tokens: held-out positions.
        documents: that they are from.
    """

    method: str
    nonnegative: bool
    comparable: bool
    fvu: float
    fvu_interval: Interval
    relative_error: float
    relative_error_interval: Interval
    l0: float
    l0_interval: Interval
    overlap: float
    overlap_interval: Interval
    jaccard: float
    jaccard_interval: Interval
    below_k: float
    above_k: float
    seconds: Nonnegative
    k: Size
    tokens: Count
    documents: Count
    ce: float | None = None
    ce_interval: Interval = None
    ce_clean: float | None = None
    ce_clean_interval: Interval = None
    ce_zero: float | None = None
    ce_zero_interval: Interval = None
    ce_mean: float | None = None
    ce_mean_interval: Interval = None
    delta: float | None = None
    delta_interval: Interval = None
    recovered_zero: float | None = None
    recovered_zero_interval: Interval = None
    recovered_mean: float | None = None
    recovered_mean_interval: Interval = None
    kl: float | None = None
    kl_interval: Interval = None
    kl_zero: float | None = None
    kl_zero_interval: Interval = None
    kl_mean: float | None = None
    kl_mean_interval: Interval = None
    predictions: Count | None = None
    contexts: Count | None = None
    resample: Resample | None = None
    positions: Positions | None = None
    baseline: Positions | None = None


@dataclass(frozen=True, kw_only=True)
class AmortisationRecord(DecoderRecord):
    """Codes by every method on one decoder.

    Attributes:
        variant: of the SAE, which its seeds share.
        seed: of its training.
        rows: one a method, the encoder first.
    """

    KIND: ClassVar[str] = "amortisation"
    variant: str
    seed: Count
    rows: tuple[InferenceRow, ...]


@dataclass(frozen=True, kw_only=True)
class BySize:
    """Real supports of one size; shares with 95 % Clopper-Pearson intervals.

    Attributes:
        size: features in the support.
        supports: so many of the size.
        guaranteed: share with an exact recovery coefficient (ERC) below 1.
        own: share that OMP recovers with the coefficients of the token's code.
        signs: with the same moduli and random signs.
        gaussian: with Gaussian coefficients.
    """

    size: Size
    supports: Size
    guaranteed: float
    guaranteed_interval: Interval
    own: float
    own_interval: Interval
    signs: float
    signs_interval: Interval
    gaussian: float
    gaussian_interval: Interval


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Real supports of one range of exact recovery coefficients (ERC); shares with 95 % Clopper-Pearson intervals.

    Attributes:
        erc_from: lower end, included.
        erc_to: upper end, excluded; None for infinity.
        supports: in the range.
        predicted: "all recovered" or "no guarantee".
        own, signs, gaussian: shares that OMP recovers, as in :class:`BySize`.
    """

    erc_from: float
    erc_to: float | None
    supports: Count
    predicted: str
    own: float
    own_interval: Interval
    signs: float
    signs_interval: Interval
    gaussian: float
    gaussian_interval: Interval


@dataclass(frozen=True)
class PlantedPoint:
    """Planted codes of one sparsity on uniform supports, without noise.

    Attributes:
        k: nonzeros.
        trials: codes.
        successes: exact supports that OMP returned.
        low: lower end of the 95 % Wilson interval of the rate.
        high: its upper end.
    """

    k: Size
    trials: Size
    successes: Count
    low: float
    high: float

    @property
    def rate(self) -> float:
        """successes / trials."""
        return self.successes / self.trials


@dataclass(frozen=True, kw_only=True)
class RecoveryRecord(DecoderRecord):
    """Recovery on one trained decoder, beside random values on its mask.

    Attributes:
        measures: of the trained decoder at unit norm.
        cumulative_coherence: pairs k, mu_1(k), for "trained" and "random values".
        planted: recovery rates over k, for "trained" and "random values".
        by_size: supports of held-out tokens by their size.
        calibration: the same by their ERC.
        contradictions: supports with ERC < 1 on which OMP failed: 0, or the theorem or the code is wrong.
    """

    KIND: ClassVar[str] = "recovery"
    measures: DictionaryMeasures
    cumulative_coherence: dict[str, tuple[tuple[Size, float], ...]]
    planted: dict[str, tuple[PlantedPoint, ...]]
    by_size: Annotated[tuple[BySize, ...], msgspec.Meta(min_length=1)]
    calibration: tuple[Calibration, ...]
    contradictions: Count


@dataclass(frozen=True, kw_only=True)
class RateTenth:
    """A tenth of an SAE's features, by firing rate.

    Attributes:
        rate: median share of tokens on which they fire.
        features: in the tenth.
        novel: share with best Jaccard below the threshold.
        null: the same of random firing sets of their sizes.
        jaccard: mean best Jaccard.
        null_jaccard: the same of random firing sets.
        entropy: median entropy of the tokens that they fire on, bits.
    """

    rate: float
    features: Count
    novel: float
    null: float
    jaccard: float
    null_jaccard: float
    entropy: float


@dataclass(frozen=True, kw_only=True)
class NoveltyRecord(DecoderRecord):
    """Which features of one SAE a dense one does not have; only features that fire count.

    Attributes:
        tokens: held-out positions.
        alive: features that fire on one of them.
        jaccard_novel: share of features whose best Jaccard of firing sets is below the threshold.
        null_novel: the same of random firing sets of the same sizes.
        jaccard_median: median of the best Jaccard.
        null_median: the same of random firing sets.
        cosine_novel: share of features whose best |cosine| is below the threshold.
        cosine_median: median of the best |cosine|.
        entropy_median: of the tokens that a feature fires on, bits.
        entropy_quartiles: lower and upper quartile of it.
        tenths: by firing rate, rising.
    """

    KIND: ClassVar[str] = "novelty"
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
    tenths: tuple[RateTenth, ...]
