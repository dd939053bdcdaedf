"""Sparse codes from activations: every solver returns a :class:`Recovery`."""

from expander_theory._kernels.linear.vectors import TILE_BYTES
from expander_theory.solvers.basis_pursuit import basis_pursuit
from expander_theory.solvers.coefficients import exact_recovery_coefficients, range_certified_k, range_threshold
from expander_theory.solvers.cosamp import cosamp
from expander_theory.solvers.gomp import gomp
from expander_theory.solvers.l0_decoding import l0_decoding
from expander_theory.solvers.matching_pursuit import matching_pursuit
from expander_theory.solvers.niht import niht
from expander_theory.solvers.omp.estimator import OMPEncoder
from expander_theory.solvers.omp.omp import Backend, omp
from expander_theory.solvers.omp.prepared import Prepared
from expander_theory.solvers.recovery import Path, Recovery, RecoveryStatus
from expander_theory.solvers.ssmp import ssmp
from expander_theory.solvers.topk import topk

__all__ = [
    "SOLVERS",
    "TILE_BYTES",
    "Backend",
    "OMPEncoder",
    "Path",
    "Prepared",
    "Recovery",
    "RecoveryStatus",
    "basis_pursuit",
    "cosamp",
    "exact_recovery_coefficients",
    "gomp",
    "l0_decoding",
    "matching_pursuit",
    "niht",
    "omp",
    "range_certified_k",
    "range_threshold",
    "ssmp",
    "topk",
]

SOLVERS = {
    "omp": omp,
    "topk": topk,
    "matching-pursuit": matching_pursuit,
    "gomp": gomp,
    "cosamp": cosamp,
    "niht": niht,
    "ssmp": ssmp,
    "l0-decoding": l0_decoding,
    "basis-pursuit": basis_pursuit,
}
"""Solvers by name; each is called as ``solver(dictionary, signals, k)``."""
