"""Intervals, boundary fits, bootstraps, paired comparisons, confidence sequences, curves of reference."""

from expander_theory.statistics.bootstrap import bootstrap_boundary, goodness_of_fit
from expander_theory.statistics.boundary import UNRESOLVED, Boundary, fit_boundary, located
from expander_theory.statistics.clusters import Cluster, effective_trials, variation
from expander_theory.statistics.comparison import compare_paired
from expander_theory.statistics.confidence_sequence import bounded_mean_sequence, confidence_sequence
from expander_theory.statistics.intervals import bootstrap_mean, clopper_pearson_interval, wilson_interval
from expander_theory.statistics.reference_curves import (
    omp_measurements,
    omp_sparsity,
    peeling_step,
    peeling_threshold,
    thresholding_measurements,
    weak_curve,
    weak_half_width,
    weak_sparsity,
    weak_threshold,
)

__all__ = [
    "UNRESOLVED",
    "Boundary",
    "Cluster",
    "bootstrap_boundary",
    "bootstrap_mean",
    "bounded_mean_sequence",
    "clopper_pearson_interval",
    "compare_paired",
    "confidence_sequence",
    "effective_trials",
    "fit_boundary",
    "goodness_of_fit",
    "located",
    "omp_measurements",
    "omp_sparsity",
    "peeling_step",
    "peeling_threshold",
    "thresholding_measurements",
    "variation",
    "weak_curve",
    "weak_half_width",
    "weak_sparsity",
    "weak_threshold",
    "wilson_interval",
]
