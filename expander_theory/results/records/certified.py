"""Records of the experiment that sets certified against empirical sparsity, over families of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from expander_theory.results.records.base import FractionText, Record
from expander_theory.results.typed import Count, Size

Ends = tuple[float | None, float | None] | None


@dataclass(frozen=True, kw_only=True)
class CertifiedRate:
    """Supports or codes of one sparsity.

    Attributes:
        k: nonzeros.
        trials: codes planted; None of supports.
        successes: of the trials; None of supports.
        supports: drawn; None of codes.
        certified: supports with an exact recovery coefficient (ERC) below 1; None of codes.
        low: lower 95 % Clopper-Pearson limit of the certified share, in a sampled certificate its exact limit at the
            certificate's confidence; None of codes.
    """

    k: Size
    trials: Count | None = None
    successes: Count | None = None
    supports: Count | None = None
    certified: Count | None = None
    low: float | None = None


@dataclass(frozen=True, kw_only=True)
class CertifiedRecord(Record):
    """One part of what is measured of one case, a dictionary of random signs on a mask.

    A part has the fields that it measures; those of other parts are None. ``k50_...`` and ``k99_...`` are the
    sparsities at which a logistic fit in log k has rate 50 % and 99 %, None where the rates do not show them;
    ``..._interval`` their 95 % intervals, with None for an end that is not bounded; ``status_...`` says why a fit
    failed.

    Attributes:
        family: of masks.
        m_asked: rows asked for.
        n: columns.
        d: nonzeros of a column.
        part: name of the part.
        impossible: why there is no such mask.
        m: rows of the mask, which may be fewer than asked for.
        recipe: how the mask was made.
        sha256: content hash of the dictionary.
        largest_overlap: most rows that two columns share.
        row_degrees: least and largest number of columns through a row.
        eps: by set size, bounds on the largest share of edges that a set loses.
        size_below_half: largest size for which every set is proved to lose less than half.
        size_at_half: a size at which a set loses half, None if none was found.
        k_identifiable: proved k of unique codes (IDN-1).
        mu: coherence.
        babel: mu_1(1) to mu_1(4).
        k_coherence: k that coherence certifies for OMP.
        k_babel: k that Babel sums certify for OMP.
        k_topk_range1, k_topk_range2: k certified for TopK at coefficient ranges 1 and 2.
        range_thresholds: by k, bounds on the range up to which TopK recovers.
        ratios: the paper's conditions by name and k, as "R_id(2)", with bounds; met below 1.
        k_union_identifiable, k_union_stopping, k_union_l0, k_union_l1: k that 99 % of uniform masks of the shape reach.
        erc: supports with ERC < 1 over k.
        sampled_omp, sampled_topk, sampled_unique: sampled certificates (AVG-2) over k: supports on which OMP is exact
            for all coefficients, TopK for coefficients of one modulus, and codes are unique (IDN-5).
        k99_proved_omp, k99_proved_topk, k99_proved_unique: the largest k tried for which the same is proved of 99 % of
            the supports at confidence 1 - 10^-6.
        omp_signs, omp_gaussian, topk_signs: recovery over k, by solver and law of the codes.
    """

    KIND: ClassVar[str] = "certified"
    family: str
    m_asked: Size
    n: Size
    d: Size
    part: str
    impossible: str | None = None
    m: Size | None = None
    recipe: str | None = None
    sha256: str | None = None
    largest_overlap: Count | None = None
    row_degrees: tuple[Count, Count] | None = None
    eps: dict[str, tuple[FractionText, FractionText]] | None = None
    size_below_half: Count | None = None
    size_at_half: Count | None = None
    k_identifiable: Count | None = None
    mu: float | None = None
    babel: tuple[float, ...] | None = None
    k_coherence: Count | None = None
    k_babel: Count | None = None
    k_topk_range1: Count | None = None
    k_topk_range2: Count | None = None
    range_thresholds: dict[str, tuple[float, float]] | None = None
    ratios: dict[str, tuple[FractionText, FractionText]] | None = None
    k_union_identifiable: Count | None = None
    k_union_stopping: Count | None = None
    k_union_l0: Count | None = None
    k_union_l1: Count | None = None
    erc: tuple[CertifiedRate, ...] | None = None
    k50_erc: float | None = None
    k99_erc: float | None = None
    k50_erc_interval: Ends = None
    status_erc: str | None = None
    sampled_omp: tuple[CertifiedRate, ...] | None = None
    k99_proved_omp: Count | None = None
    sampled_topk: tuple[CertifiedRate, ...] | None = None
    k99_proved_topk: Count | None = None
    sampled_unique: tuple[CertifiedRate, ...] | None = None
    k99_proved_unique: Count | None = None
    omp_signs: tuple[CertifiedRate, ...] | None = None
    k50_omp_signs: float | None = None
    k99_omp_signs: float | None = None
    k50_omp_signs_interval: Ends = None
    status_omp_signs: str | None = None
    omp_gaussian: tuple[CertifiedRate, ...] | None = None
    k50_omp_gaussian: float | None = None
    k99_omp_gaussian: float | None = None
    k50_omp_gaussian_interval: Ends = None
    status_omp_gaussian: str | None = None
    topk_signs: tuple[CertifiedRate, ...] | None = None
    k50_topk_signs: float | None = None
    k99_topk_signs: float | None = None
    k50_topk_signs_interval: Ends = None
    status_topk_signs: str | None = None

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Everything that was measured of one case; of what several parts say, the last."""
        known = {name: value for part in parts for name, value in vars(part).items() if value is not None}
        return replace(parts[0], **known)
