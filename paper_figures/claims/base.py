"""What a claim is, and how results that speak of one are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from expander_theory.plotting import estimate, readable
from expander_theory.results import read_ledger
from paper_figures.figures.saes.suite import Group, Member, Row, group, shown

PAPER = "Expander Sparse Autoencoders (arXiv 2607.01799)"
OURS = "beyond the paper"

Verdict = Literal["supported", "partly", "not supported", "no better than the null", "not run"]
NO_BETTER: Verdict = "no better than the null"
"""What holds to the letter, but of a code that has learned nothing just as well."""
Records = tuple[Row, list[Any]]


@dataclass(frozen=True)
class Finding:
    """What results say of a claim.

    Attributes:
        verdict: by the rule that :attr:`Claim.rule` states.
        numbers: with 95 % intervals, in words.
        scale: what was run.
    """

    verdict: Verdict
    numbers: tuple[str, ...]
    scale: str


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        name: short.
        text: the claim.
        source: of the claim.
        experiment: the command that tests it.
        rule: when it counts as supported.
        figures: that show it.
        judge: from a results folder; None where it was not run.
    """

    name: str
    text: str
    source: str
    experiment: str
    rule: str
    figures: tuple[str, ...]
    judge: Callable[[Path], Finding | None]

    def finding(self, results: Path) -> Finding:
        """What a results folder says."""
        with readable([results], f"the claim {self.name!r}"):
            found = self.judge(results)
        return found or Finding("not run", (f"`{self.experiment}` makes the data.",), "")


def ledger(results: Path, name: str) -> Records | None:
    """Identity and records of an experiment; None where it was not run."""
    path = results / name / "ledger.jsonl"
    if not path.is_file():
        return None
    identity, records = read_ledger(path)
    return (identity, records) if records else None


def suite_group(results: Path, name: str) -> Group | None:
    """The SAEs of an experiment; None where it was not run."""
    path = results / "saes" / "ledger.jsonl"
    return group(path, name) if path.is_file() else None


def is_below_null(seeds: Sequence[Member]) -> bool:
    """Whether the CE is clearly less than that of the coordinate null at the same k; False where that is unknown."""
    return estimate(seeds, "ce_above_null")[2] < 0


def unlearned(found: Group) -> Verdict:
    """The verdict on what holds to the letter and is not below the null; without a null nothing is said of it."""
    return "not supported" if found.null is None else NO_BETTER


def null_in_words(found: Group) -> str:
    """What the coordinate null scores at the setting's own k."""
    if found.null is None:
        return "the coordinate null was not measured: `expander experiment frontier` adds it"
    measures = f"CE recovered {shown([found.null], 'recovered_zero')}, FVU {shown([found.null], 'fvu')}"
    return f"coordinate null (nothing learned), k = {found.null.k}: {measures}"


def training_scale(found: Group) -> str:
    """Model, sizes and effort, in words."""
    about = found.identity
    steps, tokens = about["recipe"]["steps"], about["recipe"]["steps"] * about["batch"]
    seeds = len({row.seed for row in found.rows})
    size = f"m = {about['m']}, n = {about['recipe']['n']}, k = {about['recipe']['k']}"
    trained = f"{steps} steps ({tokens:,} tokens seen), {seeds} seed{'s' * (seeds > 1)}"
    return f"{found.model}, layer {about['layer']}, {size}, {trained}; held out: {found.rows[0].tokens:,} tokens"


def interval(value: float, low: float, high: float) -> str:
    """A value with its 95 % interval."""
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
