"""Records of what was tried beside plain training: short finetunes on the language model's output, and other structures
of a dictionary. Kinds of their own, so that no table sets them among SAEs that were trained on reconstruction alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from expander_theory.results.records.base import Interval, Record
from expander_theory.results.records.evaluation import Measurement
from expander_theory.results.typed import Count, Nonnegative


@dataclass(frozen=True, kw_only=True)
class FinetuneRecord(Measurement, Record):
    """An SAE before a finetune, or after one; differences are paired over the same held-out contexts.

    Attributes:
        label: in tables.
        start: name of the SAE that it went on from; empty for that one itself.
        weight: of the KL divergence against the reconstruction error; 0 for the control; None before the finetune.
        codes: whether the gradient of the KL divergence goes through the codes, "exact", or not, "constant".
        learning_rate: peak rate of the finetune; None before it.
        steps: of the finetune.
        step_contexts: contexts a step.
        seed: of the order of the contexts.
        activations_sha256: content hash of the activations that it was measured on.
        ce_by_context: cross-entropy of each held-out context, summed over its predictions.
        ce_above_start: mean cross-entropy less that of the SAE that it started from, nats a token.
        ce_above_control: the same less that of the control of its rate; None for controls.
        fvu_above_start: fvu less that of the SAE that it started from.
        cosine: mean cosine of the decoder's columns to those that they started as.
        kept: share of columns with a cosine above 0.9.
        curve: step, fvu of that batch, and KL divergence on it, where that is in the loss.
        train_seconds: what the steps took.
    """

    KIND: ClassVar[str] = "finetune"
    label: str
    start: str
    weight: Nonnegative | None
    codes: Literal["exact", "constant"] | None
    learning_rate: float | None
    steps: Count
    step_contexts: Count
    seed: Count
    activations_sha256: str
    ce_by_context: tuple[float, ...]
    ce_above_start: float | None
    ce_above_start_interval: Interval
    ce_above_control: float | None
    ce_above_control_interval: Interval
    fvu_above_start: float | None
    cosine: float | None
    kept: float | None
    curve: tuple[tuple[Count, float, float | None], ...]
    train_seconds: Nonnegative


@dataclass(frozen=True, kw_only=True)
class StructureRecord(Measurement, Record):
    """An SAE of some structure; differences are paired over the same held-out contexts.

    Attributes:
        label: in tables.
        first: name of the SAE that it is compared with; empty for that one itself.
        steps: of its training.
        seed: of its supports, values and rotation.
        bytes_packed: parameters as bfloat16 and supports in ceil(log2 m) bits an index, with what a rotation takes.
        activations_sha256: content hash of the activations that it was measured on.
        ce_by_context: cross-entropy of each held-out context, summed over its predictions.
        ce_above_first: mean cross-entropy less that of ``first``, nats a token.
    """

    KIND: ClassVar[str] = "structure"
    label: str
    first: str
    steps: Count
    seed: Count
    bytes_packed: Count
    activations_sha256: str
    ce_by_context: tuple[float, ...]
    ce_above_first: float | None
    ce_above_first_interval: Interval


@dataclass(frozen=True, kw_only=True)
class PackedRecord(Measurement, Record):
    """An SAE as it is read from a packed file, whose bytes were counted.

    Attributes:
        label: in figures, of the SAE.
        variant: of the SAE.
        seed: of its mask and initial weights.
        values: format of decoder and encoder values, such as "bfloat16" or "int4".
        listed: whether the file stores supports; not so where the mask is drawn again, or the decoder is dense.
        file_bytes: of the whole file.
        activations_sha256: content hash of the activations that it was measured on.
        ce_above_stored: mean cross-entropy less that of the SAE before it was packed, nats a token, paired by context.
    """

    KIND: ClassVar[str] = "packed"
    label: str
    variant: str
    seed: Count
    values: str
    listed: bool
    file_bytes: Count
    activations_sha256: str
    ce_above_stored: float
    ce_above_stored_interval: Interval
