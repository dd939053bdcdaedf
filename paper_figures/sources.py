"""The paper's figures: which ledgers each reads, and which experiment writes those ledgers."""

from expander_theory.plotting import Source


def _source(module: str, ledgers: tuple[str, ...], made_by: str) -> Source:
    return Source(f"paper_figures.figures.{module}", ledgers, made_by)


_SUITE = ("saes/ledger.jsonl",)
_RECOVERY = ("recovery/ledger.jsonl",)
_AMORTISATION = ("amortisation/ledger.jsonl",)

SOURCES = (
    _source("theory.cost", ("cost/ledger.jsonl",), "expander experiment cost"),
    _source("theory.margin_map", ("identifiability/ledger.jsonl",), "expander experiment identifiability"),
    _source("saes.equal_inference", _SUITE, "expander experiment frontier"),
    _source("saes.storage_frontier", _SUITE, "expander experiment frontier"),
    _source("saes.cross_model", ("**/saes/ledger.jsonl",), "expander experiment frontier"),
    _source("saes.trained_geometry", _SUITE, "expander experiment frontier"),
    _source("saes.certified_mask", _SUITE, "expander experiment certified-mask"),
    _source("saes.controls", _SUITE, "expander experiment controls"),
    _source("saes.sparsity", _SUITE, "expander experiment sparsity"),
    _source("saes.small_dense", _SUITE, "expander experiment small-dense"),
    _source("recipes.better_training", _SUITE, "expander experiment better-training"),
    _source("recipes.pursuit_recipe", _SUITE, "expander experiment pursuit-recipe"),
    _source("recipes.structures", ("structures/ledger.jsonl",), "expander experiment structures"),
    _source("saes.packed_frontier", ("packed/ledger.jsonl",), "expander experiment packed"),
    _source("saes.against_nulls", ("**/saes/ledger.jsonl",), "expander experiment nulls"),
    _source("inference.amortisation", _AMORTISATION, "expander experiment amortisation"),
    _source("inference.inference_algorithms", _AMORTISATION, "expander experiment amortisation"),
    _source("inference.recovery_curves", _RECOVERY, "expander experiment recovery"),
    _source("inference.erc_calibration", _RECOVERY, "expander experiment recovery"),
    _source("inference.cumulative_coherence", _RECOVERY, "expander experiment recovery"),
    _source("saes.feature_novelty", ("novelty/ledger.jsonl",), "expander experiment novelty"),
    _source("features.feature_scores", ("features/ledger.jsonl",), "expander experiment features"),
    _source("features.ground_truth", ("truth/ledger.jsonl",), "expander experiment ground-truth"),
    _source("theory.mask_geometry", ("masks/ledger.jsonl",), "expander reproduce"),
    _source("theory.certified", ("certified/ledger.jsonl", "ledger.jsonl"), "expander certified"),
    _source("theory.tightness", ("attack/ledger.jsonl", "ledger.jsonl"), "expander theorems attack --out"),
    _source("theory.synthetic_study", ("synthetic/ledger.jsonl", "ledger.jsonl"), "expander synthetic-study"),
    _source("theory.phase_boundary", ("boundary/ledger.jsonl", "ledger.jsonl"), "expander phase-boundary"),
    _source("theory.solver_comparison", ("solvers/ledger.jsonl", "ledger.jsonl"), "expander compare-solvers"),
    _source("theory.solver_boundaries", ("solver-table/ledger.jsonl", "ledger.jsonl"), "expander experiment solvers"),
)
"""In the order in which they are drawn and listed."""
