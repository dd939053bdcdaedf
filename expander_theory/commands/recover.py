"""``expander recover``."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro

from expander_theory.base import InvalidArgument, require
from expander_theory.dictionaries import AnyDictionary, checked_signals, load_matrix
from expander_theory.results import atomic_write, read_npy, require_new, table, write_json

if TYPE_CHECKING:
    from expander_theory.solvers import CodeProofs


@dataclass(frozen=True)
class Recover:
    """Find sparse codes of given signals, or how often planted codes are recovered."""

    dictionary: tyro.conf.Positional[Path]
    """A dictionary saved by `expander build --values ...` or `expander sae train`, or a matrix (m, n): .npy, or .npz of
    scipy.sparse."""
    k: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Sparsity; several values for planted codes, one for --signals."""
    solver: str = "omp"
    """One of `expander sweep --help`, such as omp, topk (the tied one-step encoder), lasso or basis-pursuit (linear
    programmes, slow), or your own: path/to/file.py:function or package.module:function, called as
    function(W, signals, k)."""
    signals: Path | None = None
    """A .npy file (batch, m) of float32 or float64 signals. Default: planted codes."""
    out: Path | None = None
    """Where to write the codes (scipy .npz, CSR) or, for planted codes, the rates (JSON)."""
    trials: int = 100
    """Planted codes per k."""
    coefficients: Literal["gaussian", "signs", "uniform"] = "gaussian"
    """Law of the planted nonzeros."""
    seed: int = 0
    """Seed of the planted codes."""
    certify: bool = False
    """With --signals and omp: say for each code whether OMP must find its support, and whether it is the only one so
    sparse; costs ten to twenty times the recovery."""
    force: bool = False
    """Overwrite an existing file."""

    def run(self) -> None:
        require(len(self.k) > 0, "k", "none", "must name at least one sparsity")
        allowed = "goes with --signals and the solver omp"
        require(not self.certify or (self.signals is not None and self.solver == "omp"), "certify", True, allowed)
        if self.out is not None:
            require_new(self.out, self.force)
        dictionary = load_matrix(self.dictionary)
        if self.signals is None:
            self._planted(dictionary)
        else:
            self._given(dictionary, self.signals)

    def _planted(self, dictionary: AnyDictionary) -> None:
        from expander_theory.simulation import planted_recovery

        suffix = None if self.out is None else self.out.suffix
        require(suffix in (None, ".json"), "out", self.out, "must end in .json for the rates of planted codes")
        rates = list(
            planted_recovery(
                dictionary,
                self.k,
                trials=self.trials,
                coefficients=self.coefficients,
                solver=self.solver,
                seed=self.seed,
            )
        )
        rows = [
            {"k": r.k, "exact supports": f"{r.successes}/{r.trials}", "rate": r.rate, "low": r.low, "high": r.high}
            for r in rates
        ]
        print(f"{table(rows)}\n\n(low, high: 95 % Wilson interval)")
        if self.out is not None:
            write_json(self.out, [asdict(rate) for rate in rates])

    def _given(self, dictionary: AnyDictionary, path: Path) -> None:
        import scipy.sparse

        from expander_theory.base import Plugin
        from expander_theory.simulation import solver_or_plugin
        from expander_theory.solvers import SOLVERS, RecoveryStatus, omp, solve_by

        require(len(self.k) == 1, "k", " ".join(map(str, self.k)), "must be one value when --signals is given")
        if self.out is None:
            raise InvalidArgument("out", "not given", "--signals needs --out, where the codes are written")
        require(self.out.suffix == ".npz", "out", self.out, "must end in .npz for codes")
        signals = read_npy(path)
        require(signals.size > 0, "signals", f"array of shape {signals.shape}", "must hold at least one signal")
        solver = solver_or_plugin("solver", self.solver)
        if isinstance(solver, Plugin):
            found = solve_by(solver, dictionary, checked_signals("signals", signals, dictionary.m), self.k[0])
        elif self.certify:
            found = omp(dictionary, signals, self.k[0], certify=True)
        else:
            found = SOLVERS[solver](dictionary, signals, self.k[0])
        data = io.BytesIO()
        scipy.sparse.save_npz(data, found.to_scipy())
        atomic_write(self.out, data.getvalue())
        relative = np.median(found.relative_errors(signals))
        print(f"wrote {self.out}: {len(found.steps)} codes; relative error median {relative:.3g}")
        for status in RecoveryStatus:
            count = int((found.status == status).sum())
            if count:
                print(f"  {count}: {status.explanation}")
        if found.proofs is not None:
            print(f"proved: {_proved(found.proofs)}")


def _proved(proofs: "CodeProofs") -> str:
    support, unique, batch = proofs.support, proofs.unique, len(proofs.support)
    return (
        f"OMP must find the support of {int(support.sum())} of {batch}, whatever the coefficients (ERC < 1); "
        f"{int(unique.sum())} are the only codes so sparse; neither is proved of {int((~support & ~unique).sum())}"
    )
