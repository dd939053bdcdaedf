"""Solvers by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

from expander_theory.solvers.basis_pursuit import basis_pursuit
from expander_theory.solvers.gomp import gomp
from expander_theory.solvers.l0_decoding import l0_decoding
from expander_theory.solvers.lasso import lasso
from expander_theory.solvers.matching_pursuit import matching_pursuit
from expander_theory.solvers.omp.omp import omp
from expander_theory.solvers.recovery import Recovery
from expander_theory.solvers.smp import smp
from expander_theory.solvers.ssmp import ssmp
from expander_theory.solvers.thresholding.amp import amp
from expander_theory.solvers.thresholding.cosamp import cosamp
from expander_theory.solvers.thresholding.htp import htp
from expander_theory.solvers.thresholding.niht import niht
from expander_theory.solvers.thresholding.subspace_pursuit import subspace_pursuit
from expander_theory.solvers.topk import topk


class Variant(partial[Recovery]):
    """A solver with some of its options fixed; other options are given in the call, as to the solver itself."""

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.keywords.items())
        return f"{self.func.__name__}(dictionary, signals, k, {options})"


SOLVERS: dict[str, Callable[..., Any]] = {
    "omp": omp,
    "topk": topk,
    "matching-pursuit": matching_pursuit,
    "gomp": gomp,
    "cosamp": cosamp,
    "niht": niht,
    "ssmp": ssmp,
    "l0-decoding": l0_decoding,
    "basis-pursuit": basis_pursuit,
    "htp": htp,
    "subspace-pursuit": subspace_pursuit,
    "amp": amp,
    "lasso": lasso,
    "smp": smp,
    "l0-decoding-sequential": Variant(l0_decoding, parallel=False),
    "omp-nonnegative": Variant(omp, selection="nonnegative"),
    "basis-pursuit-nonnegative": Variant(basis_pursuit, nonnegative=True),
    "lasso-nonnegative": Variant(lasso, nonnegative=True),
    "amp-nonnegative": Variant(amp, nonnegative=True),
}
"""Solvers by name; each is called as ``solver(dictionary, signals, k)``."""
