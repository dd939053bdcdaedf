"""What experiments write and figures read: one frozen dataclass for each kind of line in a ledger."""

from expander_theory.results.records.base import Interval, Record
from expander_theory.results.records.certified import CertifiedRate, CertifiedRecord
from expander_theory.results.records.codec import RECORDS, fields_of, from_json, to_json
from expander_theory.results.records.decoders import (
    AmortisationRecord,
    BySize,
    Calibration,
    DecoderRecord,
    InferenceRow,
    NoveltyRecord,
    PlantedPoint,
    RateTenth,
    RecoveryRecord,
)
from expander_theory.results.records.evaluation import (
    Collapse,
    Collisions,
    DecoderGeometry,
    EvaluationRecord,
    FiringRates,
    Measurement,
    NullRecord,
)
from expander_theory.results.records.features import (
    AgreementRecord,
    AnswerRecord,
    FeaturesRecord,
    JudgedRecord,
    PlantedRecord,
    ProbePoint,
    RawProbesRecord,
    TruthRecord,
)
from expander_theory.results.records.masks import (
    DICTIONARY_TITLES,
    MASK_TITLES,
    DictionaryMeasures,
    ExpansionRow,
    MaskRecord,
    renamed,
)
from expander_theory.results.records.suite import BaselinesRecord, MembershipRecord, PairRecord
from expander_theory.results.records.sweep import (
    BlockRecord,
    CertificateRecord,
    FailureRecord,
    TaskRecord,
    TimingRecord,
)
from expander_theory.results.records.tables import table_row, with_interval
from expander_theory.results.records.theory import (
    AttackRecord,
    CostRecord,
    CoverageRecord,
    IdentifiabilityRecord,
    MethodCost,
)
from expander_theory.results.records.training import RateRecord, StageRecord, StepRecord
from expander_theory.results.records.trials import FinetuneRecord, PackedRecord, StructureRecord

__all__ = [
    "DICTIONARY_TITLES",
    "MASK_TITLES",
    "RECORDS",
    "AgreementRecord",
    "AmortisationRecord",
    "AnswerRecord",
    "AttackRecord",
    "BaselinesRecord",
    "BlockRecord",
    "BySize",
    "Calibration",
    "CertificateRecord",
    "CertifiedRate",
    "CertifiedRecord",
    "Collapse",
    "Collisions",
    "CostRecord",
    "CoverageRecord",
    "DecoderGeometry",
    "DecoderRecord",
    "DictionaryMeasures",
    "EvaluationRecord",
    "ExpansionRow",
    "FailureRecord",
    "FeaturesRecord",
    "FinetuneRecord",
    "FiringRates",
    "IdentifiabilityRecord",
    "InferenceRow",
    "Interval",
    "JudgedRecord",
    "MaskRecord",
    "Measurement",
    "MembershipRecord",
    "MethodCost",
    "NoveltyRecord",
    "NullRecord",
    "PackedRecord",
    "PairRecord",
    "PlantedPoint",
    "PlantedRecord",
    "ProbePoint",
    "RateRecord",
    "RateTenth",
    "RawProbesRecord",
    "Record",
    "RecoveryRecord",
    "StageRecord",
    "StepRecord",
    "StructureRecord",
    "TaskRecord",
    "TimingRecord",
    "TruthRecord",
    "fields_of",
    "from_json",
    "renamed",
    "table_row",
    "to_json",
    "with_interval",
]
