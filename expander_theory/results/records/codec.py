"""Records as JSON objects, and back: the one place that writes and reads them.

A stored record has two keys beside its fields: ``"record"``, the name of its kind, and ``"version"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from expander_theory.base import InvalidFile
from expander_theory.results.records.base import Record
from expander_theory.results.records.certified import CertifiedRecord
from expander_theory.results.records.decoders import AmortisationRecord, NoveltyRecord, RecoveryRecord
from expander_theory.results.records.evaluation import EvaluationRecord, NullRecord
from expander_theory.results.records.features import (
    AgreementRecord,
    AnswerRecord,
    FeaturesRecord,
    JudgedRecord,
    PlantedRecord,
    RawProbesRecord,
    TruthRecord,
)
from expander_theory.results.records.masks import MaskRecord
from expander_theory.results.records.suite import BaselinesRecord, MembershipRecord, PairRecord
from expander_theory.results.records.sweep import (
    BlockRecord,
    CertificateRecord,
    FailureRecord,
    TaskRecord,
    TimingRecord,
)
from expander_theory.results.records.theory import AttackRecord, CostRecord, CoverageRecord, IdentifiabilityRecord
from expander_theory.results.records.training import RateRecord, StageRecord, StepRecord
from expander_theory.results.records.trials import FinetuneRecord, PackedRecord, StructureRecord
from expander_theory.results.typed import Where, converted

KIND_KEY, VERSION_KEY = "record", "version"

RECORDS: dict[str, type[Record]] = {
    record.KIND: record
    for record in (
        *(TaskRecord, BlockRecord, FailureRecord, CertificateRecord, TimingRecord),
        *(EvaluationRecord, NullRecord, MembershipRecord, PairRecord, BaselinesRecord),
        *(AmortisationRecord, RecoveryRecord, NoveltyRecord, FinetuneRecord, StructureRecord, PackedRecord),
        *(MaskRecord, CertifiedRecord, AttackRecord, CoverageRecord, CostRecord, IdentifiabilityRecord),
        *(StepRecord, RateRecord, StageRecord),
        *(PlantedRecord, TruthRecord, AgreementRecord),
        *(AnswerRecord, JudgedRecord, FeaturesRecord, RawProbesRecord),
    )
}
"""Every kind of record by its name."""


def to_json(record: Record) -> dict[str, Any]:
    """A record as a JSON object, with its kind and version."""
    return {KIND_KEY: record.KIND, VERSION_KEY: record.VERSION, **fields_of(record)}


def fields_of(record: Any) -> dict[str, Any]:
    """The fields of a record, or of a dataclass within one, as JSON; None is left out where it is the default."""
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if value is not None or field.default is not None:
            found[field.name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return fields_of(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def is_tagged(mapping: Mapping[str, Any]) -> bool:
    """Whether a JSON object says which kind of record it is."""
    return KIND_KEY in mapping and VERSION_KEY in mapping


def from_json(mapping: Mapping[str, Any], path: Where, line: int) -> Record:
    """The record that a JSON object holds.

    Args:
        mapping: as :func:`to_json` makes it.
        path: of the file, for messages.
        line: in the file, from 1, for messages.

    Raises:
        InvalidFile: of a kind or a version that this release does not know, or a field is missing or of another type.
    """
    kind, version = mapping[KIND_KEY], mapping[VERSION_KEY]
    wanted = RECORDS.get(kind) if isinstance(kind, str) else None
    if wanted is None:
        raise InvalidFile(path, f"line {line}: holds a record of the kind {kind!r}, which this release does not know")
    if version != wanted.VERSION or isinstance(version, bool):
        problem = f"holds the {kind} record of version {version!r}, this release reads {wanted.VERSION}"
        raise InvalidFile(path, f"line {line}: {problem}")
    return converted(path, mapping, wanted, f"line {line}")
