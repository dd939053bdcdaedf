"""What is measured of one sparse autoencoder (SAE), and of one that was not trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from expander_theory.results.records.base import Interval, Record
from expander_theory.results.typed import Count, Nonnegative, Size

Positions = Literal["kept", "all"]
Resample = Literal["documents", "contexts"]
NullCode = Literal["coordinates_nonnegative", "principal", "leading", "untrained", "mean"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Size and fidelity of one SAE on held-out tokens; losses in nats a token, intervals are 95 % bootstrap.

    Attributes:
        name: of the SAE.
        architecture: "expander", "dense", "block" (dense columns beside those of a mask) or "null".
        m: width of the activations.
        n: features.
        d: nonzeros of a decoder column; of one on the mask for "block".
        k: active features that the SAE is made for.
        encoder: "tied", "untied", "omp" or "omp_nonnegative".
        activation: what follows the encoder, such as "topk".
        selection: how its active features are chosen.
        decoder_values: free values of the decoder.
        fvu: fraction of variance unexplained; 0 for the identity, 1 for the mean activation.
        relative_error: mean of ||h - h_hat|| / ||h||.
        l0: mean number of nonzero code entries.
        dead: features that fire on none of ``seen_tokens``.
        dense: features that fire on more than a tenth of ``tokens``.
        tokens: held-out positions in the means.
        seen_tokens: positions that ``dead`` is judged on.
        ce: mean cross-entropy with the reconstruction in place.
        ce_clean: without any change.
        ce_zero: with zero ablation.
        ce_mean: with mean ablation.
        delta: ce - ce_clean.
        recovered_zero: (ce_zero - ce) / (ce_zero - ce_clean); None where ablation does not clearly raise the loss.
        recovered_mean: the same against mean ablation.
        kl: mean KL divergence of the predictions from the clean ones.
        kl_zero: the same with zero ablation.
        kl_mean: the same with mean ablation.
        predictions: in the mean cross-entropies.
        documents: held-out ones measured.
        contexts: held-out ones measured.
        resample: the unit that the bootstrap draws.
        positions: where activations are replaced, "kept" or "all".
        baseline: where they are ablated, "kept" or "all".
    """

    name: str
    architecture: str
    m: Size
    n: Size
    d: Size
    k: Size
    encoder: str
    activation: str
    selection: str
    decoder_values: Count
    fvu: float
    fvu_interval: Interval
    relative_error: float
    relative_error_interval: Interval
    l0: float
    l0_interval: Interval
    dead: Count
    dense: Count
    tokens: Count
    seen_tokens: Count
    ce: float
    ce_interval: Interval
    ce_clean: float
    ce_clean_interval: Interval
    ce_zero: float
    ce_zero_interval: Interval
    ce_mean: float
    ce_mean_interval: Interval
    delta: float
    delta_interval: Interval
    recovered_zero: float | None
    recovered_zero_interval: Interval
    recovered_mean: float | None
    recovered_mean_interval: Interval
    kl: float
    kl_interval: Interval
    kl_zero: float
    kl_zero_interval: Interval
    kl_mean: float
    kl_mean_interval: Interval
    predictions: Count
    documents: Count
    contexts: Count
    resample: Resample
    positions: Positions
    baseline: Positions


@dataclass(frozen=True, kw_only=True)
class DecoderGeometry:
    """What a decoder looks like at unit norm.

    Attributes:
        flatness_least: least C_j = sqrt(d) max |w_ij| / ||w_j|| of a column.
        flatness_median: median of C_j.
        flatness_95: quantile of C_j at 0.95.
        flatness_largest: largest C_j.
        coherence: largest |<w_i, w_j>| of two columns.
        babel_k: k that Babel sums certify for OMP.
        eps_2k_found: share of edges that a set of 2k columns loses, the worst that was found; None without a mask.
        eps_2k_count: the share that some set of 2k columns must lose, by counting; None without a mask.
        R_id: the paper's condition for unique codes, met below 1; from below; None without a mask.
        R_OMP: the paper's condition for OMP, met below 1; from below; None without a mask.
    """

    flatness_least: float
    flatness_median: float
    flatness_95: float
    flatness_largest: float
    coherence: float
    babel_k: Count
    eps_2k_found: float | None = None
    eps_2k_count: float | None = None
    R_id: float | None = None
    R_OMP: float | None = None


@dataclass(frozen=True, kw_only=True)
class FiringRates:
    """Shares of held-out tokens on which features fire.

    Attributes:
        tokens: held-out positions.
        mean: over all features.
        silent: share of features that fire on none of them.
        q5, q25, q50, q75, q95: quantiles in per cent among features that fire; None if none does.
    """

    tokens: Count
    mean: float
    silent: float
    q5: float | None = None
    q25: float | None = None
    q50: float | None = None
    q75: float | None = None
    q95: float | None = None


@dataclass(frozen=True, kw_only=True)
class Collisions:
    """How the supports of a token's active features overlap, over held-out tokens.

    Attributes:
        tokens: with an active feature.
        deficit_mean, deficit_median, deficit_95, deficit_largest: of 1 - |N(S)| / (d |S|).
        duplicates_mean, duplicates_median, duplicates_95, duplicates_largest: of the edges beyond the first of a row.
    """

    tokens: Count
    deficit_mean: float
    deficit_median: float
    deficit_95: float
    deficit_largest: float
    duplicates_mean: float
    duplicates_median: float
    duplicates_95: float
    duplicates_largest: float


COLLAPSED_DEGREE, COLLAPSED_SHARE = 1.5, 0.75
"""A decoder has collapsed to coordinates if its weighted effective degree is below the first, and more than the second
of its active features sit on the token's largest coordinates."""


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """How much of an SAE is the coordinate null of the same k, on held-out tokens; None where no feature is active.

    Attributes:
        effective_degree: mean of 1 / sum_i w_ij^4 over unit columns, each weighted by the energy that it carries: 1 for
            one-hot columns, d for flat ones.
        effective_degree_of_columns: the same without weights, over all columns.
        peak: mean of max_i w_ij^2, weighted by energy.
        on_largest_coordinates: share of active features whose largest entry lies on one of the token's k largest
            coordinates of h less its mean.
        residual_cosine: of h - h_hat with what the null leaves, over all tokens; None where one leaves nothing.
    """

    effective_degree: float | None
    effective_degree_of_columns: float
    peak: float | None
    on_largest_coordinates: float | None
    residual_cosine: float | None

    @property
    def collapsed(self) -> bool:
        """Whether the decoder has collapsed to coordinates, by the rule of :data:`COLLAPSED_DEGREE`."""
        return (self.effective_degree or COLLAPSED_DEGREE) < COLLAPSED_DEGREE and (
            self.on_largest_coordinates or 0.0
        ) > COLLAPSED_SHARE


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(Measurement, Record):
    """Everything that a suite knows about one trained or pruned SAE.

    Attributes:
        variant: how it was made; SAEs of several seeds share it.
        seed: of its training.
        pruned: how it was pruned, empty if it was not.
        family: of its mask, "dense" without one.
        parameters: decoder values, those of an untied encoder, and both biases.
        bytes_float32: parameters as float32 and supports as int32.
        bytes_packed: parameters as bfloat16 and supports in as few bits as they need.
        bytes_seeded: parameters as bfloat16 and no supports.
        ce_by_context: cross-entropy of each held-out context, summed over its predictions.
        omp_fvu: fvu of codes by orthogonal matching pursuit (OMP) on the same decoder.
        geometry: of the decoder.
        firing: rates of its features.
        collisions: of its supports; None without a mask.
        learning_rate: None if it was only pruned.
        steps: of training.
        curve: step, fvu of that batch, and dead features then.
        train_seconds: what training took.
        omp_nonnegative_fvu: fvu of codes by OMP under codes >= 0; None, like all that follow, if not measured.
        omp_overlap: mean share of k that OMP's code shares with the encoder's.
        omp_delta: ``delta`` with OMP's codes in the model.
        omp_recovered_zero: ``recovered_zero`` with OMP's codes in the model.
        collapse: how much of it is the coordinate null.
        encode_microseconds: what encoding a token takes, in a batch of many, on the machine that measured it.
        activations_sha256: content hash of the activations that it was measured on, those of the ledger if None.
        dense_columns: how many columns are dense, beside those on a mask; None: none.
    """

    KIND: ClassVar[str] = "evaluation"
    variant: str
    seed: Count
    pruned: str
    family: str
    parameters: Count
    bytes_float32: Count
    bytes_packed: Count
    bytes_seeded: Count
    ce_by_context: tuple[float, ...]
    omp_fvu: float
    omp_fvu_interval: Interval
    geometry: DecoderGeometry
    firing: FiringRates
    collisions: Collisions | None
    learning_rate: float | None
    steps: Count
    curve: tuple[tuple[Count, float, Count], ...]
    train_seconds: Nonnegative
    omp_nonnegative_fvu: float | None = None
    omp_overlap: float | None = None
    omp_delta: float | None = None
    omp_recovered_zero: float | None = None
    omp_recovered_zero_interval: Interval = None
    collapse: Collapse | None = None
    encode_microseconds: float | None = None
    activations_sha256: str | None = None
    dense_columns: Count | None = None


@dataclass(frozen=True, kw_only=True)
class NullRecord(Measurement, Record):
    """A code that nothing was trained for.

    Attributes:
        label: in figures.
        code: "coordinates_nonnegative" (the k largest positive coordinates of the centred activation), "principal" (the
            k largest principal coordinates), "leading" (the first k), "untrained" (random values on a mask, OMP),
            "mean"; None for the coordinate null: the k largest coordinates.
        activations_sha256: content hash of the activations that it was measured on.
        ce_by_context: cross-entropy of each held-out context, summed over its predictions.
    """

    KIND: ClassVar[str] = "null"
    label: str
    activations_sha256: str
    ce_by_context: tuple[float, ...]
    code: NullCode | None = None

    @property
    def variant(self) -> str:
        """Its name: it has no seeds."""
        return self.name
