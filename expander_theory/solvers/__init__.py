"""Sparse codes from activations: every solver returns a :class:`Recovery`."""

from expander_theory._kernels.linear.vectors import TILE_BYTES
from expander_theory.solvers.basis_pursuit import basis_pursuit
from expander_theory.solvers.brought import UserSolver, solve_by
from expander_theory.solvers.coefficients import exact_recovery_coefficients, range_certified_k, range_threshold
from expander_theory.solvers.gomp import gomp
from expander_theory.solvers.guarantees.erc import Columns, coefficient_sums, erc_bounds
from expander_theory.solvers.guarantees.uniqueness import has_full_mask, largest_overlap, unique_supports
from expander_theory.solvers.l0_decoding import l0_decoding
from expander_theory.solvers.lasso import lasso
from expander_theory.solvers.matching_pursuit import matching_pursuit
from expander_theory.solvers.omp._backends import choose_backend
from expander_theory.solvers.omp.estimator import OMPEncoder
from expander_theory.solvers.omp.omp import Backend, omp
from expander_theory.solvers.omp.prepared import Prepared
from expander_theory.solvers.recovery import CodeProofs, Path, Recovery, RecoveryStatus
from expander_theory.solvers.registry import SOLVERS
from expander_theory.solvers.smp import smp
from expander_theory.solvers.ssmp import ssmp
from expander_theory.solvers.thresholding.amp import amp, minimax_threshold
from expander_theory.solvers.thresholding.cosamp import cosamp
from expander_theory.solvers.thresholding.htp import htp
from expander_theory.solvers.thresholding.niht import niht
from expander_theory.solvers.thresholding.subspace_pursuit import subspace_pursuit
from expander_theory.solvers.topk import topk

__all__ = [
    "SOLVERS",
    "TILE_BYTES",
    "Backend",
    "CodeProofs",
    "Columns",
    "OMPEncoder",
    "Path",
    "Prepared",
    "Recovery",
    "RecoveryStatus",
    "UserSolver",
    "amp",
    "basis_pursuit",
    "choose_backend",
    "coefficient_sums",
    "cosamp",
    "erc_bounds",
    "exact_recovery_coefficients",
    "gomp",
    "has_full_mask",
    "htp",
    "l0_decoding",
    "largest_overlap",
    "lasso",
    "matching_pursuit",
    "minimax_threshold",
    "niht",
    "omp",
    "range_certified_k",
    "range_threshold",
    "smp",
    "solve_by",
    "ssmp",
    "subspace_pursuit",
    "topk",
    "unique_supports",
]
