"""What ``expander reproduce`` runs: the same stages at two scales."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PhaseGrid:
    """Cells of the phase diagram: columns n, undersampling m/n, sparsity k/m, for masks of several degrees.

    Biregular and polynomial masks have the degree ``d``; uniform ones all of ``degrees``.
    """

    n: int
    m_over_n: tuple[float, ...]
    k_over_m: tuple[float, ...]
    d: int
    degrees: tuple[int, ...]
    trials: int
    certified_draws: int


@dataclass(frozen=True)
class Preset:
    """One scale of the whole road; the other experiments have presets of the same name."""

    name: str
    phase: PhaseGrid
    expansion_seconds: float
    seed: int = 0
    masks: tuple[tuple[int, int, int], ...] = field(default=((2048, 16384, 8), (576, 4608, 8)))
    """(m, n, d) of the uniform masks that are measured beside the polynomial one."""


def _steps(first: float, last: float, step: float) -> tuple[float, ...]:
    return tuple(round(first + i * step, 6) for i in range(round((last - first) / step) + 1))


QUICK = Preset(
    name="quick",
    phase=PhaseGrid(
        n=512,
        m_over_n=_steps(0.1, 0.9, 0.1),
        k_over_m=_steps(0.05, 0.6, 0.05),
        d=8,
        degrees=(2, 4, 8, 16),
        trials=25,
        certified_draws=3,
    ),
    expansion_seconds=3.0,
)

FULL = Preset(
    name="full",
    phase=PhaseGrid(
        n=1024,
        m_over_n=_steps(0.1, 0.9, 0.1),
        k_over_m=_steps(0.025, 0.6, 0.025),
        d=8,
        degrees=(2, 4, 8, 16, 32),
        trials=25,
        certified_draws=20,
    ),
    expansion_seconds=30.0,
)

PRESETS = {preset.name: preset for preset in (QUICK, FULL)}
