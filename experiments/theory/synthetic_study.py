"""The paper's synthetic study: OMP on planted codes by degree, sparsity and noise, at m = 512, n = 4,096."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from expander_theory.dictionaries import Ensemble
from expander_theory.results import Ledger
from expander_theory.simulation import FixedTrials, Ladder, Noise, Task, run_sweep


@dataclass(frozen=True)
class Scale:
    """One scale of the study.

    Some signals share each dictionary, because drawing one of large degree takes longer than solving for a signal, and
    because success then splits into what varies between masks and within one.
    """

    m: int
    n: int
    degrees: tuple[int, ...]
    ks: tuple[int, ...]
    sigmas: tuple[float, ...]
    signals: int
    """On each dictionary."""
    dictionaries: int


SCALES = {
    name: Scale(512, 4096, (7, 30, 50, 100, 200), (4, 8, 16, 32, 64, 128), (0.0, 0.01, 0.05), 10, dictionaries)
    for name, dictionaries in (("quick", 30), ("full", 150))
}


def ladders(scale: Scale, seed: int) -> list[Ladder]:
    """One ladder for each noise level and degree: uniform masks with signs, normal codes."""
    return [
        Ladder(
            Task(
                Ensemble("uniform", scale.m, scale.n, d),
                scale.ks[0],
                noise=Noise("relative", sigma) if sigma else Noise(),
                signals_per_dictionary=scale.signals,
                seed=seed,
            ),
            scale.ks,
        )
        for sigma in scale.sigmas
        for d in scale.degrees
    ]


def run(scale: Scale, seed: int, workers: int, folder: Path) -> None:
    """Bring every cell to the scale's number of trials."""
    content = {key: value for key, value in asdict(scale).items() if key != "dictionaries"}
    with Ledger(folder / "ledger.jsonl", {"kind": "synthetic study", "seed": seed, **content}) as ledger:
        run_sweep(ladders(scale, seed), FixedTrials(scale.dictionaries * scale.signals), ledger, workers=workers)
