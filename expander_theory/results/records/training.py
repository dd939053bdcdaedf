"""Records of runs: training steps, learning rates that were tried, stages of a reproduction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expander_theory.results.records.base import Record
from expander_theory.results.typed import Count, Nonnegative, Positive


@dataclass(frozen=True)
class StepRecord(Record):
    """How one training run stands.

    Attributes:
        step: optimiser steps before it.
        fvu: fraction of variance unexplained on the last batch.
        l0: mean number of active features on it.
        dead: features that count as dead now.
        seconds: that steps have taken so far.
        effective_degree: of the columns, weighted by the energy that they carry on the last batch: 1 is one-hot.
        kl: KL divergence of the language model's output on it, in nats, where that is in the loss.
    """

    KIND: ClassVar[str] = "step"
    step: Count
    fvu: float
    l0: float
    dead: Count
    seconds: Nonnegative
    effective_degree: float | None = None
    kl: float | None = None


@dataclass(frozen=True)
class RateRecord(Record):
    """A short training run at one learning rate.

    Attributes:
        name: of the recipe.
        learning_rate: that was tried.
        fvu: held-out fraction of variance unexplained; None if the run diverged.
    """

    KIND: ClassVar[str] = "rate"
    name: str
    learning_rate: Positive
    fvu: float | None


@dataclass(frozen=True)
class StageRecord(Record):
    """A finished stage of a reproduction.

    Attributes:
        stage: its name.
        seconds: of the clock.
    """

    KIND: ClassVar[str] = "stage"
    stage: str
    seconds: Nonnegative
