"""Claim: intervals hold what they state. Coverage of every 95 % interval over simulated sweeps with known curves.

``expander coverage`` runs the schedules of :mod:`expander_theory.simulation` on simulated outcomes and prints, for
every interval that the toolkit states, how often it held the truth: at fixed numbers of trials, and where the
schedule stopped after looking at the outcomes. A second run resumes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.special import erf, expit

from expander_theory.base import generator, progress_bar, require
from expander_theory.dictionaries import Ensemble
from expander_theory.results import CoverageRecord, Ledger
from expander_theory.simulation import FindBoundary, FitBoundary, FixedTrials, Ladder, ResolveCells, Schedule, Task
from expander_theory.statistics import bootstrap_boundary, clopper_pearson_interval, fit_boundary

REQUIRED = 0.94

Shape = Literal["logistic", "probit", "skewed"]


@dataclass(frozen=True)
class Scenario:
    """A known curve of success, P(success | k, dictionary) = F(slope (c + shift - k/m)), and how it is swept.

    Attributes:
        m: rows.
        ks: the ladder; coarse grids for the schedules that try every cell are taken from it.
        slope: of logit p at c, per unit of k/m.
        shape: F: logistic; "probit", of the same slope at c; "skewed", 2^(-e^(-x)), rescaled likewise.
        spread: standard deviation of the dictionary's normal ``shift`` of the boundary.
        signals: to a dictionary.
        trials: for each cell of the coarse grid, at fixed numbers of trials.
        resolution: asked of the schedules that look for the boundary.
    """

    m: int
    ks: tuple[int, ...]
    slope: float
    shape: Shape = "logistic"
    spread: float = 0.0
    signals: int = 1
    trials: int = 50
    resolution: float = 0.01

    @cached_property
    def ladder(self) -> Ladder:
        """All cells."""
        return Ladder(Task(Ensemble("uniform", self.m, 2 * self.m, 4), 1, signals_per_dictionary=self.signals), self.ks)

    @cached_property
    def coarse(self) -> Ladder:
        """About twelve cells."""
        return Ladder(self.ladder.base, self.ks[:: math.ceil(len(self.ks) / 12)])

    def nearest(self, centre: float) -> int:
        """The k of the coarse grid whose rate is nearest to 1/2."""
        return min(self.coarse.ks, key=lambda k: abs(k / self.m - centre))

    def rates(self, k: int, centre: float, shift: np.ndarray) -> np.ndarray:
        """Success probability at k on dictionaries of the given shifts."""
        x = np.clip(self.slope * (centre + shift - k / self.m), -500, 500)
        if self.shape == "logistic":
            return expit(x)
        if self.shape == "probit":
            return (1 + erf(x * math.sqrt(math.pi) / 4)) / 2
        return 2.0 ** (-np.exp(-x / (2 * math.log(2))))

    def rate(self, k: int, centre: float) -> float:
        """Success probability at k over the ensemble: the mean over normal shifts."""
        if self.spread == 0:
            return float(self.rates(k, centre, np.zeros(1))[0])
        nodes, weights = np.polynomial.hermite_e.hermegauss(80)
        return float(weights @ self.rates(k, centre, self.spread * nodes) / weights.sum())

    def block(self, k: int, centre: float, rng: np.random.Generator) -> str:
        """The outcomes of one block."""
        shift = np.repeat(rng.normal(0, self.spread, self.ladder.base.block_size // self.signals), self.signals)
        return "".join(np.where(rng.random(shift.size) < self.rates(k, centre, shift), "1", "0"))


SCENARIOS: dict[str, Scenario] = {
    "gentle": Scenario(256, tuple(range(1, 154)), slope=30),
    "moderate": Scenario(512, tuple(range(1, 308)), slope=65),
    "steep": Scenario(256, tuple(range(1, 154)), slope=300),
    "separated": Scenario(256, tuple(range(1, 154)), slope=100_000),
    "coarse grid": Scenario(64, tuple(range(3, 39, 3)), slope=30),
    "coarse and steep": Scenario(64, tuple(range(3, 39, 3)), slope=200),
    "few trials": Scenario(128, tuple(range(1, 78)), slope=50, trials=25, resolution=0.02),
    "probit": Scenario(256, tuple(range(1, 154)), slope=65, shape="probit"),
    "skewed": Scenario(256, tuple(range(1, 154)), slope=65, shape="skewed"),
    "dictionaries vary": Scenario(256, tuple(range(1, 154)), 30, spread=0.03, signals=25, trials=250, resolution=0.02),
    "dictionaries vary, steep": Scenario(
        256, tuple(range(1, 154)), 200, spread=0.05, signals=5, trials=50, resolution=0.02
    ),
    "dictionaries agree": Scenario(256, tuple(range(1, 154)), 30, signals=25, trials=250, resolution=0.02),
}

Seen = dict[int, list[str]]
Statements = dict[str, bool | None]
"""Whether an interval held the truth; None where none was stated."""


def sweep(scenario: Scenario, name: str, number: int, seed: int) -> tuple[Statements, dict[str, int]]:
    """One simulated sweep by every schedule: what held, and the trials that each schedule took."""
    rng = generator(seed, f"coverage {name} {number}")
    centre = float(rng.uniform(0.2, 0.45))
    held: Statements = {}
    trials: dict[str, int] = {}
    for play in (_fixed, _resolve, _find, *([_fit] if scenario.signals == 1 else [])):
        label, seen, statements = play(scenario, centre, rng)
        trials[label] = sum(len(block) for blocks in seen.values() for block in blocks)
        held |= statements
    return held, trials


def _rounds(
    scenario: Scenario, schedule: Schedule, ladder: Ladder, centre: float, rng: np.random.Generator
) -> Iterator[Seen]:
    """What the schedule sees, after each of its rounds."""
    seen: Seen = {k: [] for k in ladder.ks}
    while True:
        missing = {k: count - len(seen[k]) for k, count in schedule.wanted(ladder, seen).items()}
        if not any(more > 0 for more in missing.values()):
            return
        for k, more in missing.items():
            seen[k] += [scenario.block(k, centre, rng) for _ in range(more)]
        yield seen


def _fixed(scenario: Scenario, centre: float, rng: np.random.Generator) -> tuple[str, Seen, Statements]:
    ladder = scenario.coarse
    (seen,) = _rounds(scenario, FixedTrials(scenario.trials), ladder, centre, rng)
    if scenario.signals > 1:
        values = [ladder.values(seen[k]) for k in ladder.ks]
        t = np.repeat([k / scenario.m for k in ladder.ks], [v.size for v in values])
        counts = np.concatenate(values) * scenario.signals
        band = bootstrap_boundary(t, counts, np.full(t.size, scenario.signals), seed=rng, replicates=299)
        return "fixed trials", seen, {"cluster-bootstrap band at fixed trials": _holds(band.low, band.high, centre)}
    k = scenario.nearest(centre)
    outcome = "".join(seen[k])
    low, high = clopper_pearson_interval(outcome.count("1"), len(outcome))
    exact = _holds(float(low), float(high), scenario.rate(k, centre))
    fitted = _fitted(scenario, seen, centre, "at fixed trials")
    return "fixed trials", seen, {"Clopper-Pearson at fixed trials": exact, **fitted}


def _resolve(scenario: Scenario, centre: float, rng: np.random.Generator) -> tuple[str, Seen, Statements]:
    schedule, ladder, k = ResolveCells(0.1, max_trials=400, beyond=0.2), scenario.coarse, scenario.nearest(centre)
    seen: Seen = {}
    held, truth = True, scenario.rate(k, centre)
    for seen in _rounds(scenario, schedule, ladder, centre, rng):
        low, high = schedule.interval(ladder, seen[k])
        held = held and low <= truth <= high
    kind = "confidence sequence" if scenario.signals == 1 else "confidence sequence of dictionaries"
    return "ResolveCells", seen, {f"{kind} at all looks": held, **_fitted(scenario, seen, centre, "after ResolveCells")}


def _find(scenario: Scenario, centre: float, rng: np.random.Generator) -> tuple[str, Seen, Statements]:
    schedule, ladder = FindBoundary(scenario.resolution), scenario.ladder
    seen: Seen = {}
    held = True
    for seen in _rounds(scenario, schedule, ladder, centre, rng):
        found = schedule.bracket(ladder, seen)
        below = found.low_k is None or found.low_k / scenario.m <= centre
        above = found.high_k is None or centre <= found.high_k / scenario.m
        held = held and below and above and found.status != "not_decreasing"
    return "FindBoundary", seen, {"bracket at all looks": held, **_fitted(scenario, seen, centre, "after FindBoundary")}


def _fit(scenario: Scenario, centre: float, rng: np.random.Generator) -> tuple[str, Seen, Statements]:
    schedule, ladder = FitBoundary(scenario.resolution), scenario.ladder
    *_, seen = _rounds(scenario, schedule, ladder, centre, rng)
    boundary = schedule.boundary(ladder, seen)
    if boundary is None or scenario.shape != "logistic":
        return "FitBoundary", seen, {}
    return "FitBoundary", seen, {"interval of FitBoundary": _holds(boundary.low, boundary.high, centre)}


def _fitted(scenario: Scenario, seen: Seen, centre: float, when: str) -> Statements:
    """The logistic interval, where it is stated: logistic curves, independent trials, two cells or more."""
    tried = {k: "".join(blocks) for k, blocks in seen.items() if blocks}
    if scenario.shape != "logistic" or scenario.signals > 1 or len(tried) < 2:
        return {}
    t, outcomes = [k / scenario.m for k in tried], list(tried.values())
    fit = fit_boundary(t, [o.count("1") for o in outcomes], [len(o) for o in outcomes])
    return {f"logistic interval {when}": _holds(fit.low, fit.high, centre)}


def _holds(low: float, high: float, truth: float) -> bool | None:
    return None if math.isnan(low) else bool(low <= truth <= high)


@dataclass(frozen=True)
class Coverage:
    """Measure the coverage of every stated 95 % interval. Over simulated sweeps; a second run resumes or adds."""

    sweeps: int = 2000
    """Simulated sweeps of each scenario, rounded up to whole batches of 50."""
    out: Path = Path("results/coverage")
    """Folder of the ledger."""
    seed: int = 0
    """Of the curves and outcomes."""

    def run(self) -> None:
        from tabulate import tabulate

        require(self.sweeps >= 1, "sweeps", self.sweeps, "must be at least 1")
        with Ledger(self.out / "ledger.jsonl", {"kind": "coverage", "seed": self.seed, "batch": BATCH}) as ledger:
            measure(SCENARIOS, self.sweeps, self.seed, ledger)
            records = [record for record in ledger.of(CoverageRecord) if record.first < self.sweeps]
        print(tabulate(coverage_rows(records), headers="keys", tablefmt="github", disable_numparse=True))
        print()
        print(tabulate(trial_rows(records), headers="keys", tablefmt="github"))


BATCH = 50


def measure(scenarios: Mapping[str, Scenario], sweeps: int, seed: int, ledger: Ledger, *, show: bool = True) -> None:
    """Simulate what the (open) ledger does not hold yet; a record for each batch of a scenario."""
    done = {(record.scenario, record.first) for record in ledger.of(CoverageRecord)}
    todo = [(name, first) for name in scenarios for first in range(0, sweeps, BATCH) if (name, first) not in done]
    for name, first in progress_bar(todo, unit="batch", desc="coverage", show=show):
        held: dict[str, list[bool]] = defaultdict(list)
        trials: dict[str, int] = defaultdict(int)
        for number in range(first, first + BATCH):
            statements, taken = sweep(scenarios[name], name, number, seed)
            for statement, value in statements.items():
                held[statement] += [] if value is None else [value]
            for label, count in taken.items():
                trials[label] += count
        counts = {statement: (sum(values), len(values)) for statement, values in held.items()}
        ledger.append(CoverageRecord(name, first, BATCH, counts, dict(trials)))


def coverage_rows(records: Iterable[CoverageRecord]) -> list[dict[str, Any]]:
    """How often each statement was made and held in each scenario, with the Clopper-Pearson interval of that."""
    counts: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(2, np.int64))
    for record in records:
        for statement, pair in record.held.items():
            counts[statement, record.scenario] += pair
    rows = []
    for (statement, scenario), (held, stated) in sorted(counts.items()):
        low, high = clopper_pearson_interval(held, stated)
        rows.append(
            {
                "95 % interval": statement,
                "scenario": scenario,
                "stated": int(stated),
                "held": f"{held / stated:.2%}" if stated else "-",
                "with 95 % confidence": f"{low:.2%} to {high:.2%}",
                f"at least {REQUIRED:.0%}": "yes" if stated and held >= REQUIRED * stated else "NO" if stated else "-",
            }
        )
    return rows


def trial_rows(records: Iterable[CoverageRecord]) -> list[dict[str, Any]]:
    """Mean trials of a column, by scenario and schedule."""
    totals: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for record in records:
        for label, count in {**record.trials, "sweeps": record.sweeps}.items():
            totals[record.scenario][label] += count
    labels = dict.fromkeys(label for total in totals.values() for label in total if label != "sweeps")
    return [
        {
            "trials of a column": scenario,
            **{label: round(total[label] / total["sweeps"]) if label in total else None for label in labels},
        }
        for scenario, total in totals.items()
    ]


if __name__ == "__main__":
    import tyro

    tyro.cli(Coverage).run()
