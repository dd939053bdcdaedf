"""Records of a suite of sparse autoencoders (SAEs) beside the evaluations: groups, pairs, losses without an SAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from expander_theory.results.records.base import Interval, Record
from expander_theory.results.typed import Count


@dataclass(frozen=True)
class MembershipRecord(Record):
    """One evaluated SAE belongs to an experiment.

    Attributes:
        group: name of the experiment.
        member: name of the evaluation.
        variant: of the SAE, which its seeds share.
        label: of the variant in figures.
        seed: of its training.
        order: place within the group, from 0.
    """

    KIND: ClassVar[str] = "membership"
    group: str
    member: str
    variant: str
    label: str
    seed: Count
    order: Count


@dataclass(frozen=True)
class PairRecord(Record):
    """One SAE against another on the same contexts; intervals are 95 % paired bootstrap.

    Attributes:
        pair: name of the evaluation.
        to: name of the one that it is compared with, an evaluation's or a null's.
        ratio: of the cross-entropies recovered against zero ablation, own / other; None where it is undefined.
        ratio_interval: of the ratio.
        ce_difference: own cross-entropy minus the other's, in nats a token.
        ce_difference_interval: of the difference.
    """

    KIND: ClassVar[str] = "pair"
    pair: str
    to: str
    ratio: float | None
    ratio_interval: Interval
    ce_difference: float
    ce_difference_interval: Interval


@dataclass(frozen=True)
class BaselinesRecord(Record):
    """Losses of the language model without any SAE, by held-out context.

    Attributes:
        baselines: fields of ``sae_bridge.evaluation.Losses``, which checks them when it is made of them again.
        note: the conventions of the measurement, in words.
    """

    KIND: ClassVar[str] = "baselines"
    baselines: dict[str, Any]
    note: str
