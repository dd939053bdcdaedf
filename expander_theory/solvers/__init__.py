"""Sparse codes from activations: every solver returns a :class:`Recovery`."""

from expander_theory.solvers.basis_pursuit import basis_pursuit
from expander_theory.solvers.cosamp import cosamp
from expander_theory.solvers.gomp import gomp
from expander_theory.solvers.l0_decoding import l0_decoding
from expander_theory.solvers.matching_pursuit import matching_pursuit
from expander_theory.solvers.niht import niht
from expander_theory.solvers.omp import omp
from expander_theory.solvers.recovery import Path, Recovery, RecoveryStatus
from expander_theory.solvers.ssmp import ssmp
from expander_theory.solvers.topk import topk

__all__ = [
    "SOLVERS",
    "Path",
    "Recovery",
    "RecoveryStatus",
    "basis_pursuit",
    "cosamp",
    "gomp",
    "l0_decoding",
    "matching_pursuit",
    "niht",
    "omp",
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
