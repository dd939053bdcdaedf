"""Suites of SAEs: trained once in one setting, each judged once beside its nulls, compared in pairs."""

from sae_bridge.suites.equal_inference import equal_inference, large, longer
from sae_bridge.suites.every_layer import EveryLayer, LayerRow, every_layer, suite_page
from sae_bridge.suites.ground_truth import (
    TRUTH_SCALES,
    Condition,
    Learner,
    TruthScale,
    agreement_records,
    conditions,
    planted_record,
    train_on_truth,
    truth_records,
)
from sae_bridge.suites.paper import PaperRun, paper_runs, reported
from sae_bridge.suites.places import places
from sae_bridge.suites.presets import Setting, comparisons, settings
from sae_bridge.suites.pursuit_recipe import pursuit_recipe
from sae_bridge.suites.scored_features import feature_members, feature_nulls, feature_records
from sae_bridge.suites.short_finetunes import finetune_records, finetune_row, finetune_start, finetunes
from sae_bridge.suites.structures import structure_records, structures, train_structures
from sae_bridge.suites.suite import Member, SAESuite, file_name
from sae_bridge.suites.variants import (
    Variant,
    architecture,
    better_training,
    by_omp,
    certified,
    controls,
    has_euler_mask,
    small_dense,
    sparsities,
)

__all__ = [
    "TRUTH_SCALES",
    "Condition",
    "EveryLayer",
    "LayerRow",
    "Learner",
    "Member",
    "PaperRun",
    "SAESuite",
    "Setting",
    "TruthScale",
    "Variant",
    "agreement_records",
    "architecture",
    "better_training",
    "by_omp",
    "certified",
    "comparisons",
    "conditions",
    "controls",
    "equal_inference",
    "every_layer",
    "feature_members",
    "feature_nulls",
    "feature_records",
    "file_name",
    "finetune_records",
    "finetune_row",
    "finetune_start",
    "finetunes",
    "has_euler_mask",
    "large",
    "longer",
    "paper_runs",
    "places",
    "planted_record",
    "pursuit_recipe",
    "reported",
    "settings",
    "small_dense",
    "sparsities",
    "structure_records",
    "structures",
    "suite_page",
    "train_on_truth",
    "train_structures",
    "truth_records",
]
