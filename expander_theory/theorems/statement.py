"""Statements: hypotheses and a conclusion that can be evaluated on an instance, and attacked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from expander_theory.base import ExpanderTheoryError, require
from expander_theory.theorems.slack import Slack

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Condition = Callable[[Any], Slack]
"""A function of an instance (usually a :class:`expander_theory.theorems.Case`) that returns a margin."""


FLOOR = 0.05
"""Share of the drawn instances that must meet the hypotheses, unless a statement says otherwise."""


@dataclass(frozen=True)
class Draws:
    """What an attack draws for a statement about dictionaries, and how large.

    Attributes:
        max_m, max_n: sizes of masks drawn column by column (families of known graphs may be a little larger).
        values: which families of values: "any" (all of them), "flat" (one modulus), "positive" (one
            positive number), "zeros" (all, and entries of the mask may vanish).
        code: a code is drawn; "k": with exactly k nonzeros; "any": with any support; "": no code.
        noise: a perturbation of the activation is drawn.
        signal: an activation h of no code in particular is drawn, ``case.h``.
        max_k: largest sparsity.
    """

    max_m: int = 8
    max_n: int = 7
    values: Literal["any", "flat", "positive", "zeros"] = "any"
    code: Literal["", "k", "any"] = ""
    noise: bool = False
    signal: bool = False
    max_k: int = 4

    def __post_init__(self) -> None:
        for name, floor in (("max_m", 1), ("max_n", 2), ("max_k", 1)):
            require(getattr(self, name) >= floor, name, getattr(self, name), f"must be at least {floor}")


class ConditionFailed(ExpanderTheoryError):
    """A hypothesis or the conclusion of a statement raised an error; the text shows the instance on which it did."""

    def __init__(self, id: str, instance: Any, error: BaseException) -> None:
        super().__init__(id, instance, error)  # so that it can cross process borders
        self.instance = instance

    def __str__(self) -> str:
        id, instance, error = self.args
        return (
            f"{id}: a condition raised {type(error).__name__} ({error}) on\n{instance}\n"
            "Give it a margin there, or put a hypothesis before it that excludes the instance"
        )


@dataclass(frozen=True)
class Evaluation:
    """A statement on one instance."""

    hypotheses: tuple[Slack, ...]
    """In their order, up to the first that is not met: a later one may make no sense there."""
    conclusion: Slack | None
    """None where the hypotheses are not met (it is not computed then)."""

    @property
    def met(self) -> bool:
        """Whether every hypothesis surely holds."""
        return all(slack.met for slack in self.hypotheses)

    @property
    def violated(self) -> bool:
        """Whether the instance refutes the statement."""
        return self.met and self.conclusion is not None and self.conclusion.violated


@dataclass(frozen=True)
class Statement:
    """Hypotheses => conclusion, for every instance.

    Attributes:
        id: name in THEORY.md, or your own.
        text, latex: what it says, plain and in LaTeX.
        hypotheses: each a function of the instance that returns its margin (:class:`Slack`); named by their keys.
            They are looked at in their order, each where those before it are met.
        conclusion: likewise.
        source: where it comes from; the proof is in THEORY.md under ``id`` unless said otherwise.
        cost: of hypotheses / conclusion.
        check: how it is checked, in a sentence.
        needs: "unit" columns (l2 norm 1), a "full" mask (no zero entry on it); a dictionary without is refused.
        draws: what an attack draws; ignored where ``instances`` is given.
        instances: a Hypothesis strategy for statements that are not about one dictionary.
        mutants: tempting wrong variants, which an attack must refute.
        floor: least share of drawn instances that must meet the hypotheses for an attack to mean anything.
        wrong: it is a mutant.
    """

    id: str
    text: str
    conclusion: Condition
    hypotheses: Mapping[str, Condition] = field(default_factory=dict)
    latex: str = ""
    source: str = ""
    cost: str = ""
    check: str = ""
    needs: tuple[Literal["unit", "full"], ...] = ()
    draws: Draws = Draws()
    instances: Callable[[], SearchStrategy[Any]] | None = None
    mutants: tuple[Statement, ...] = ()
    floor: float = FLOOR
    wrong: bool = False

    def __post_init__(self) -> None:
        holes = "full" in self.needs and self.draws.values == "zeros"
        require(not holes, "draws", "values 'zeros'", "do not go with a statement that needs a full mask")

    def evaluate(self, instance: Any) -> Evaluation:
        """Margins of the hypotheses, up to the first that is not met, and of the conclusion where all are.

        Raises:
            ConditionFailed: a condition raised an error; names the instance.
        """
        margins: list[Slack] = []
        for condition in self.hypotheses.values():
            margins.append(self._margin(condition, instance))
            if not margins[-1].met:
                return Evaluation(tuple(margins), None)
        return Evaluation(tuple(margins), self._margin(self.conclusion, instance))

    def applies(self, instance: Any) -> bool:
        """Whether every hypothesis surely holds."""
        return all(self._margin(condition, instance).met for condition in self.hypotheses.values())

    def _margin(self, condition: Condition, instance: Any) -> Slack:
        try:
            return condition(instance)
        except ExpanderTheoryError:
            raise
        except Exception as error:
            raise ConditionFailed(self.id, instance, error) from error

    def with_mutants(self, *mutants: Statement) -> Statement:
        """This statement with its wrong variants, each under a name of its own."""
        names = [mutant.id for mutant in mutants]
        require(len(set(names)) == len(names), "mutants", names, "must have different names")
        return replace(self, mutants=mutants)

    def mutant(self, name: str, text: str, **changes: Any) -> Statement:
        """A wrong variant: the same statement with ``hypotheses``, ``conclusion``, ``draws``, ... changed.

        It has the usual ``floor``, not this statement's, which is about other hypotheses.

        Its id is that of the statement, a slash, and ``name`` with everything but letters, digits and ``._^+=`` as
        hyphens, easy to type in a shell.
        """
        slug = re.sub(r"[^A-Za-z0-9._^+=]+", "-", name).strip("-")
        own = {"latex": "", "mutants": (), "wrong": True, "floor": FLOOR, **changes}
        return replace(self, id=f"{self.id}/{slug}", text=text, **own)
