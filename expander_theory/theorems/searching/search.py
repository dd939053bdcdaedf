"""The attack on one statement: property-based search, then a numerical adversary on what it found."""

from __future__ import annotations

import contextlib
import importlib
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky, NonInteractiveExampleWarning

from expander_theory.base import InvalidArgument, require, require_choice, require_seed
from expander_theory.dictionaries import Dictionary
from expander_theory.theorems.case import Case
from expander_theory.theorems.searching._strategies import cases, with_parts
from expander_theory.theorems.slack import Slack
from expander_theory.theorems.statement import Evaluation, Statement


@dataclass(frozen=True)
class Budget:
    """How hard to try: drawn examples, and steps of the numerical adversary from the tightest of them."""

    examples: int
    adversary_starts: int
    adversary_steps: int
    shrink_seconds: float


BUDGETS = {
    "quick": Budget(1500, 15, 40, 4.0),
    "normal": Budget(8000, 30, 200, 20.0),
    "thorough": Budget(60_000, 100, 1000, 60.0),
}

Verdict = Literal["stands", "refuted", "rarely met"]


@dataclass
class Report:
    """What an attack found.

    Attributes:
        tried, met: drawn examples, and those of them whose hypotheses were met.
        moves: further instances that the numerical adversary looked at.
        tightest: least slack of the conclusion among those, with its instance.
        counterexample: an instance that refutes the statement, shrunk.
        found_by: "property" or "adversary".
    """

    statement: Statement
    tried: int = 0
    met: int = 0
    moves: int = 0
    tightest: Slack | None = None
    tightest_instance: Any = None
    counterexample: Any = None
    counterexample_slack: Slack | None = None
    found_by: str = ""
    seconds: float = 0.0
    pool: dict[Any, tuple[float, Any]] = field(default_factory=dict, repr=False)
    """The tightest instance on each mask, where the numerical adversary may start."""

    @property
    def met_rate(self) -> float:
        """Share of the drawn examples whose hypotheses were met."""
        return self.met / max(1, self.tried)

    @property
    def verdict(self) -> Verdict:
        """ "refuted", or "rarely met" where too few examples meant anything, or "stands"."""
        if self.counterexample is not None:
            return "refuted"
        return "stands" if self.met_rate >= self.statement.floor else "rarely met"

    @property
    def as_expected(self) -> bool:
        """Mutants must be refuted, statements must stand on a fair number of examples."""
        return self.verdict == ("refuted" if self.statement.wrong else "stands")

    def record(self, instance: Any, evaluation: Evaluation, drawn: bool = True) -> None:
        """Count one instance, drawn or moved to."""
        self.tried += drawn
        self.moves += not drawn
        if evaluation.conclusion is None:
            return
        self.met += drawn
        slack = evaluation.conclusion
        if self.tightest is None or _rounded(slack) < _rounded(self.tightest):
            self.tightest, self.tightest_instance = slack, instance
        if isinstance(instance, Case):
            key, value = (instance.mask.sha256, instance.k), _rounded(slack)
            if key not in self.pool or value < self.pool[key][0]:
                self.pool[key] = (value, instance)

    def starts(self, count: int, rng: np.random.Generator) -> list[Case]:
        """Tight instances on different masks, and as many at random.

        The tight ones come from every k in turn, and for one k from every (d, n) in turn, the tightest of each first:
        where the slack tends to 0 with k, the tightest of all would all be of one k.
        """
        entries = [self.pool[key] for key in sorted(self.pool)]
        order = [int(i) for i in rng.permutation(len(entries))]  # ties in random order
        tight = sorted(order, key=lambda i: entries[i][0])
        turns: list[tuple[int, int, int]] = []
        by_k: Counter[int] = Counter()
        by_size: Counter[tuple[int, int, int]] = Counter()
        for place, i in enumerate(tight):
            case = entries[i][1]
            size = (case.k, case.d, case.n)
            turns.append((by_size[size], place, i))
            by_size[size] += 1
        ranked = []
        for _, place, i in sorted(turns):
            k = entries[i][1].k
            ranked.append((by_k[k], place, i))
            by_k[k] += 1
        chosen = [i for _, _, i in sorted(ranked)[:count]]
        return [entries[i][1] for i in dict.fromkeys([*chosen, *order[:count]])]


def _rounded(slack: Slack) -> float:
    """The slack to nine decimals: the last digits of floats differ between processes, and attacks must not."""
    return round(float(slack.low), 9)


_PATIENCE = 15
"""Steps of the adversary without progress before it leaves a start."""


_MOVES = 0.7
"""Share of steps that move moduli; the others change signs alone, as equal moduli may be what matters."""


class _Refuted(Exception):
    pass


def attack(statement: Statement, *, budget: str | Budget = "quick", seed: int = 0) -> Report:
    """Try to refute a statement.

    Draws examples (Hypothesis; masks by their columns, adversarial values, codes, noise), then some of every k steered
    towards small slack; a failure is shrunk. If none fails, a numerical adversary moves values, codes and noise of the
    tightest examples of every k, d and n further. Deterministic in ``seed``, except that shrinking stops after some
    seconds.

    Args:
        budget: "quick", "normal", "thorough", or your own.
        seed: of the drawn examples and of the adversary.

    Raises:
        InvalidArgument: an unknown budget, a negative seed, or conditions that are not functions of the instance alone.
        ConditionFailed: a condition raised an error; names the instance.
    """
    if isinstance(budget, str):
        require_choice("budget", budget, tuple(BUDGETS))
        budget = BUDGETS[budget]
    require(isinstance(budget, Budget), "budget", repr(budget), "must be a name or a Budget")
    require_seed(seed)
    report = Report(statement)
    start = time.monotonic()
    count = budget.examples // 3
    _property_search(statement, budget, budget.examples - count, 2 * seed, report)  # far and wide
    ks = [None] if statement.instances else [*range(1, statement.draws.max_k + 1)]
    for k in ks:  # then towards small slack, for every k by itself
        if report.counterexample is None:
            _property_search(statement, budget, count // len(ks), 2 * seed + 1, report, steered=True, k=k)
    if report.counterexample is None:
        _adversary(statement, budget, seed, report)
    if report.counterexample is not None and not statement.evaluate(report.counterexample).violated:
        raise InvalidArgument("statement", statement.id, "its conditions must give the same margins each time")
    report.pool.clear()
    report.seconds = time.monotonic() - start
    return report


def _property_search(
    statement: Statement,
    budget: Budget,
    examples: int,
    seed: int,
    report: Report,
    steered: bool = False,
    k: int | None = None,
) -> None:
    deadline: list[float] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=max(1, examples),
        database=None,
        derandomize=False,  # whatever profile is loaded: the seed decides
        deadline=None,
        phases=(Phase.generate, Phase.target, Phase.shrink),
        suppress_health_check=list(HealthCheck),  # type: ignore[arg-type]
        report_multiple_bugs=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(cases(statement, k))
    def search(instance: Any) -> None:
        if deadline and time.monotonic() > deadline[0]:
            return  # enough shrinking: nothing smaller counts any more
        evaluation = statement.evaluate(instance)
        if not deadline:
            report.record(instance, evaluation)
            if steered and evaluation.conclusion is not None:
                _steer(instance, evaluation.conclusion)
        if evaluation.violated:
            if not deadline:
                deadline.append(time.monotonic() + budget.shrink_seconds)
            report.counterexample, report.counterexample_slack = instance, evaluation.conclusion
            report.found_by = "property"
            raise _Refuted

    with _same_draws_everywhere(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NonInteractiveExampleWarning)
        try:
            search()
        except (_Refuted, Flaky):
            pass  # Flaky: the smallest failure was found before time was up and no longer counts
        except BaseExceptionGroup as group:
            if not group.split(_Refuted)[0]:
                raise


@contextlib.contextmanager
def _same_draws_everywhere() -> Iterator[None]:
    """Keep Hypothesis from drawing constants that it finds in the modules that happen to be loaded.

    They would make an attack depend on the process that runs it. (There is no public switch.)
    """
    providers: Any = importlib.import_module("hypothesis.internal.conjecture.providers")
    if not hasattr(providers, "_get_local_constants"):
        yield  # a release that does not do so
        return
    kept, none = (providers._get_local_constants, providers.CONSTANTS_CACHE), providers.Constants()
    providers._get_local_constants, providers.CONSTANTS_CACHE = (lambda: none), type(kept[1])(1024)
    try:
        yield
    finally:
        providers._get_local_constants, providers.CONSTANTS_CACHE = kept


def _steer(instance: Any, slack: Slack) -> None:
    """Small slack is a high score, in half decades: Hypothesis climbs step by step, and finer steps take for ever.

    Every d and n has a score of its own, as every k has a search: a single one would draw all to where the slack tends
    to 0 by itself.
    """
    value = max(1e-9, float(slack.low))
    if not np.isfinite(value):
        return
    score = -round(2 * math.log10(value)) / 2
    if isinstance(instance, Case):
        for name, size in (("d", instance.d), ("n", instance.n)):
            hypothesis.target(score, label=f"small slack at {name} = {size}")
    else:
        hypothesis.target(score, label="small slack")


def _adversary(statement: Statement, budget: Budget, seed: int, report: Report) -> None:
    """Random search that moves the numbers of an instance while its hypotheses stay met."""
    if statement.draws.values == "positive" and not statement.draws.code:
        return  # a mask alone: nothing to move
    rng = np.random.default_rng([seed, 1])
    for start in report.starts(budget.adversary_starts, rng):
        best, best_slack = start, statement.evaluate(start).conclusion
        step, idle = 0.3, 0
        for _ in range(budget.adversary_steps):
            if idle == _PATIENCE:
                break
            candidate = _moved(best, statement, step, rng)
            evaluation = statement.evaluate(candidate)
            report.record(candidate, evaluation, drawn=False)
            slack = evaluation.conclusion
            if slack is not None and best_slack is not None and _rounded(slack) < _rounded(best_slack):
                best, best_slack, step = candidate, slack, min(1.0, 1.5 * step)
                idle = 0
                if evaluation.violated:
                    report.counterexample, report.counterexample_slack = candidate, slack
                    report.found_by = "adversary"
                    return
            else:
                step, idle = max(1e-4, 0.9 * step), idle + 1


def _moved(case: Case, statement: Statement, step: float, rng: np.random.Generator) -> Case:
    """The case with its numbers moved a little: what may be moved is what the statement's draws leave free."""
    changes: dict[str, Any] = {}
    family = statement.draws.values
    if family in ("any", "zeros"):
        values = case.dictionary.values
        if rng.random() < _MOVES:
            values = values * np.exp(step * rng.standard_normal(values.shape))
        changes["dictionary"] = Dictionary(case.mask, _flipped(values, rng))
    elif family == "flat":
        changes["dictionary"] = Dictionary(case.mask, _flipped(case.dictionary.values, rng))
    if case.code is not None:
        code = case.code * np.exp(step * rng.standard_normal(case.n))
        changes["code"] = _flipped(code, rng)
    if case.signal is not None:
        changes["signal"] = _flipped(case.signal * np.exp(step * rng.standard_normal(case.m)), rng)
    if case.noise is not None:
        scale = np.linalg.norm(case.noise) / np.sqrt(case.m)
        changes["noise"] = case.noise + step * scale * rng.standard_normal(case.m)
    return with_parts(case, **changes)


def _flipped(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One sign flipped, half of the time."""
    values = values.copy()
    if rng.random() < 0.5:
        values.flat[rng.integers(values.size)] *= -1
    return values
