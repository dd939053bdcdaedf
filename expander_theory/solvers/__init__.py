"""Sparse codes from activations: every solver returns a :class:`Recovery`."""

from expander_theory.solvers.omp import omp
from expander_theory.solvers.recovery import Recovery, RecoveryStatus
from expander_theory.solvers.topk import topk

__all__ = ["SOLVERS", "Recovery", "RecoveryStatus", "omp", "topk"]

SOLVERS = {"omp": omp, "topk": topk}
"""Solvers by name; each is called as ``solver(dictionary, signals, k)``."""
