"""Every solver on every kind of dictionary: the 50 % boundary in k/m, without noise and at 30 dB, and time a signal.

All solvers of a kind of dictionary and noise see the same instances (THEORY.md STAT-2), so that they are compared in
pairs. Solvers of nonnegative codes are compared among themselves, on codes that are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from expander_theory.base import Plugin, progress_bar, require
from expander_theory.dictionaries import Ensemble
from expander_theory.results import Ledger, TimingRecord
from expander_theory.simulation import (
    CodeLaw,
    FixedTrials,
    Ladder,
    Noise,
    PlantedCodes,
    Success,
    Task,
    planted_codes,
    run_sweep,
    signals_of,
    solver_named,
    solver_or_plugin,
)
from expander_theory.solvers import Prepared

SIGNED = (
    *("omp", "topk", "matching-pursuit", "gomp", "cosamp", "subspace-pursuit", "niht", "htp"),
    *("amp", "lasso", "basis-pursuit", "smp", "ssmp", "l0-decoding", "l0-decoding-sequential"),
)
NONNEGATIVE = (
    *("omp", "omp-nonnegative", "amp", "amp-nonnegative", "lasso", "lasso-nonnegative"),
    *("basis-pursuit", "basis-pursuit-nonnegative"),
)
MASKED = ("smp", "ssmp", "l0-decoding", "l0-decoding-sequential")
"""Let the rows of a sparse column vote."""
EXACT = ("l0-decoding", "l0-decoding-sequential", "basis-pursuit", "basis-pursuit-nonnegative")
"""Fit a noisy signal with its noise, or not at all: they are run without noise alone."""
NOISE_30_DB = Noise("relative", 10 ** (-30 / 20))
FAMILIES = ("uniform", "biregular", "polynomial", "dense")
_TIMED = 64


@dataclass(frozen=True)
class Scale:
    """One scale: sizes, sparsities, trials for each cell."""

    m: int
    n: int
    d: int
    ks: tuple[int, ...]
    trials: int


SCALES = {
    "quick": Scale(64, 256, 8, tuple(range(2, 33, 3)), 25),
    "full": Scale(128, 512, 8, tuple(range(4, 65, 6)), 50),
}


def run(scale: Scale, own: Sequence[str], seed: int, workers: int, folder: Path) -> None:
    """Bring every solver to so many trials a cell, and time it; solvers of the user's ``own`` join the signed ones."""
    require(workers >= 1, "workers", workers, "must be at least 1")
    users = [solver_or_plugin("solver", name) for name in own]
    content = {key: value for key, value in asdict(scale).items() if key != "trials"}
    with Ledger(folder / "ledger.jsonl", {"kind": "solver boundaries", "seed": seed, **content}) as ledger:
        run_sweep(_ladders(scale, users, seed), FixedTrials(scale.trials), ledger, workers=workers)
        _time(scale, users, seed, ledger)


def ensemble(scale: Scale, family: str) -> Ensemble:
    """Signs on masks, and Gaussian values without one."""
    dense = family == "dense"
    return Ensemble(family, scale.m, scale.n, scale.m if dense else scale.d, "gaussian" if dense else "signs")


def _ladders(scale: Scale, users: Sequence[str | Plugin], seed: int) -> list[Ladder]:
    """Without noise a success is the exact support; at 30 dB a relative error of the code of at most a tenth."""
    found = []
    exact, near = Success(), Success("error", 0.1)
    for family in FAMILIES:
        for noise, success in ((Noise(), exact), (NOISE_30_DB, near)):
            for solver in (*SIGNED, *users):
                if (family == "dense" and solver in MASKED) or (noise.kind != "none" and solver in EXACT):
                    continue
                base = Task(ensemble(scale, family), 1, CodeLaw(), noise, success, solver, seed=seed)
                found.append(Ladder(base, scale.ks))
        for solver in NONNEGATIVE:
            base = Task(ensemble(scale, family), 1, CodeLaw("uniform"), success=exact, solver=solver, seed=seed)
            found.append(Ladder(base, scale.ks))
    return list(dict.fromkeys(found))


def _time(scale: Scale, users: Sequence[str | Plugin], seed: int, ledger: Ledger) -> None:
    """Processor time of one thread for a batch of noiseless signals with m/8 nonzeros, the median of three."""
    known = {record.part for record in ledger.of(TimingRecord)}
    todo = [
        (family, solver)
        for family in FAMILIES
        for solver in dict.fromkeys((*SIGNED, *NONNEGATIVE, *users))
        if not (family == "dense" and solver in MASKED) and timing_part(family, solver) not in known
    ]
    for family, solver in progress_bar(todo, unit="solver", desc="time", show=bool(todo)):
        prepared = Prepared(ensemble(scale, family).draw(seed, np.float32), np.float32)
        law = CodeLaw("uniform") if str(solver).endswith("nonnegative") else CodeLaw()
        codes = planted_codes(law, scale.n, max(1, scale.m // 8), _TIMED, seed=seed)
        signals = signals_of(prepared.dictionary, codes).astype(np.float32)
        solve = solver_named(solver)
        solve(prepared, signals[:1], PlantedCodes(codes.supports[:1], codes.values[:1]))  # compiles
        wall, spent = [], []
        for _ in range(3):
            begun, before = time.perf_counter(), time.process_time()
            solve(prepared, signals, codes)
            wall.append(time.perf_counter() - begun)
            spent.append(time.process_time() - before)
        median = statistics.median
        ledger.append(TimingRecord(timing_part(family, solver), 1, median(wall), median(spent), _TIMED))


def timing_part(family: str, solver: str | Plugin) -> str:
    """The name of a time in the ledger."""
    return f"time of {solver.label if isinstance(solver, Plugin) else solver} on {family}"
