"""Records of structures of a dictionary that were tried beside a mask with learned supports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expander_theory.results.records.base import Interval, Record
from expander_theory.results.records.evaluation import Measurement
from expander_theory.results.typed import Count


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
