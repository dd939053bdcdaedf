"""The statements of THEORY.md as objects that can be evaluated and attacked.

``evaluate("IDN-1", dictionary, k)`` gives margins on a dictionary; ``attack(statement)`` tries to refute a
statement, one of these or your own."""

from expander_theory.theorems.case import Case
from expander_theory.theorems.evaluate import evaluate, hypotheses
from expander_theory.theorems.quantities import spark
from expander_theory.theorems.registry import find_statement, mutants, statements
from expander_theory.theorems.searching.campaign import campaign
from expander_theory.theorems.searching.search import BUDGETS, Budget, Report, attack
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import ConditionFailed, Draws, Evaluation, Statement

__all__ = [
    "BUDGETS",
    "Budget",
    "Case",
    "ConditionFailed",
    "Draws",
    "Evaluation",
    "Report",
    "Slack",
    "Statement",
    "attack",
    "campaign",
    "evaluate",
    "find_statement",
    "hypotheses",
    "least",
    "mutants",
    "nonnegative",
    "positive",
    "spark",
    "statements",
]
