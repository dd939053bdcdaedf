"""What ``expander reproduce`` runs: the same stages at two scales."""

from dataclasses import dataclass, field

from sae_bridge.activations import Harvest


@dataclass(frozen=True)
class PhaseGrid:
    """Cells of the phase diagram: columns n, undersampling m/n, sparsity k/m, for masks of degree d."""

    n: int
    m_over_n: tuple[float, ...]
    k_over_m: tuple[float, ...]
    d: int
    trials: int
    certified_draws: int


@dataclass(frozen=True)
class Frontier:
    """SAEs to train: one per degree and seed, and the dense reference (None).

    ``learning_rate`` is that of :class:`sae_bridge.train.Training`, the same for all degrees. In short runs
    (300 steps) 8e-3 gave the lowest FVU of 1, 2, 4 and 8e-3 for dense, d = 128, 32 and 8 alike.
    """

    degrees: tuple[int | None, ...]
    n: int
    k: int
    steps: int
    learning_rate: float
    batch: int = 1024
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Planted:
    """Planted codes on each dictionary."""

    ks: tuple[int, ...]
    trials: int


@dataclass(frozen=True)
class Preset:
    """One scale of the whole road."""

    name: str
    phase: PhaseGrid
    harvest: Harvest
    frontier: Frontier
    planted: Planted
    expansion_seconds: float
    seed: int = 0
    masks: tuple[tuple[int, int, int], ...] = field(default=((2048, 16384, 8), (576, 4608, 8)))
    """(m, n, d) of the uniform masks that are measured beside the polynomial one."""


def _steps(first: float, last: float, step: float) -> tuple[float, ...]:
    return tuple(round(first + i * step, 6) for i in range(round((last - first) / step) + 1))


QUICK = Preset(
    name="quick",
    phase=PhaseGrid(
        n=512, m_over_n=_steps(0.1, 0.9, 0.1), k_over_m=_steps(0.05, 0.6, 0.05), d=8, trials=50, certified_draws=5
    ),
    harvest=Harvest(train_contexts=640, held_out_contexts=48),
    frontier=Frontier(degrees=(None, 128, 32, 8), n=4608, k=32, steps=500, learning_rate=8e-3),
    planted=Planted(ks=(1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 160), trials=40),
    expansion_seconds=3.0,
)

FULL = Preset(
    name="full",
    phase=PhaseGrid(
        n=1024,
        m_over_n=_steps(0.05, 0.95, 0.05),
        k_over_m=_steps(0.025, 0.6, 0.025),
        d=8,
        trials=200,
        certified_draws=20,
    ),
    harvest=Harvest(train_contexts=16_000, held_out_contexts=512),
    frontier=Frontier(
        degrees=(None, 128, 64, 32, 16, 8, 4), n=4608, k=32, steps=6000, learning_rate=4e-3, seeds=(0, 1, 2)
    ),
    planted=Planted(ks=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 128), trials=200),
    expansion_seconds=60.0,
)

PRESETS = {preset.name: preset for preset in (QUICK, FULL)}
