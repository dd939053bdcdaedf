"""Records of experiments on the theory: attacks on statements, coverage of intervals, cost, identifiability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expander_theory.results.records.base import Record
from expander_theory.results.typed import Count, Integer, Nonnegative, Share, Size


@dataclass(frozen=True, kw_only=True)
class AttackRecord(Record):
    """What an attack on one statement, or on a wrong version of one, found.

    Attributes:
        id: of the statement.
        mutant: whether it is wrong on purpose.
        budget: name of the effort.
        seed: of the search.
        tried: drawn examples.
        met: those whose hypotheses were met.
        moves: further instances that the numerical adversary looked at.
        met_rate: met / tried, rounded.
        floor: least share for which "stands" means anything.
        smallest_slack: least slack of the conclusion, as text; None if no hypothesis was met.
        smallest_slack_value: the same as a number.
        tightest: the instance that has it.
        verdict: "stands", "refuted" or "rarely met".
        as_expected: whether the verdict is what the statement should get.
        counterexample: an instance that refutes the statement, shrunk.
        violation: its slack, as text.
        found_by: "property", "adversary" or empty.
        seconds: that the attack took.
    """

    KIND: ClassVar[str] = "attack"
    id: str
    mutant: bool
    budget: str
    seed: Integer
    tried: Count
    met: Count
    moves: Count
    met_rate: Share
    floor: Share
    smallest_slack: str | None
    smallest_slack_value: float | None
    tightest: str | None
    verdict: str
    as_expected: bool
    counterexample: str | None
    violation: str | None
    found_by: str
    seconds: Nonnegative


@dataclass(frozen=True)
class CoverageRecord(Record):
    """A batch of simulated sweeps of one scenario.

    Attributes:
        scenario: its name.
        first: number of the batch's first sweep.
        sweeps: in the batch.
        held: by statement, how often its interval held the truth, and how often it was made.
        trials: by schedule, trials taken in all.
    """

    KIND: ClassVar[str] = "coverage"
    scenario: str
    first: Count
    sweeps: Count
    held: dict[str, tuple[Count, Count]]
    trials: dict[str, Count]


@dataclass(frozen=True, kw_only=True)
class MethodCost:
    """What one method costs on one size.

    Attributes:
        bytes: of the stored dictionary.
        correlation: processor seconds a signal of W^T y, the least of all repeats.
        correlation_median: the median.
        iteration: of one further step of OMP.
        solve: of OMP, the least.
        solve_median: the median.
    """

    bytes: Count
    correlation: Nonnegative
    correlation_median: Nonnegative
    iteration: Nonnegative
    solve: Nonnegative
    solve_median: Nonnegative


@dataclass(frozen=True)
class CostRecord(Record):
    """Cost of one size by method.

    Attributes:
        m: rows.
        n: columns.
        d: nonzeros of a column.
        methods: by name.
    """

    KIND: ClassVar[str] = "cost"
    m: Size
    n: Size
    d: Size
    methods: dict[str, MethodCost]


@dataclass(frozen=True, kw_only=True)
class IdentifiabilityRecord(Record):
    """Exact identifiability of one small dictionary.

    Attributes:
        m: rows.
        draw: number of the mask, from 0.
        flatness: C_j of every column.
        eps: largest share of edges that a set of at most 2k columns loses.
        bound: the paper's lower bound on the margin.
        margin: least ||Wx||_1 / sum_j ||w_j||_1 |x_j| over x with at most 2k nonzeros.
        spark: least number of dependent columns, n + 1 if there are none.
        unique: whether every k-sparse code is unique.
    """

    KIND: ClassVar[str] = "identifiability"
    m: Size
    draw: Count
    flatness: float
    eps: float
    bound: float
    margin: float
    spark: Count
    unique: bool
