"""Judges of features: explanations, detection and fuzzing, by a model that the user brings."""

from sae_bridge.judging.delphi import export_delphi
from sae_bridge.judging.examples import Example, Shown, Sizes, shown_features
from sae_bridge.judging.judge import Answers, Cost, cost, identity, judge_features, ledger_in
from sae_bridge.judging.judges import KEY, EndpointJudge, Judge, JudgeFailed, LocalJudge, judge_named
from sae_bridge.judging.questions import (
    TESTS,
    Question,
    answers_in,
    balanced_accuracy,
    explanation_in,
    explanation_question,
    questions,
    read_prompts,
    scores,
)

__all__ = [
    "KEY",
    "TESTS",
    "Answers",
    "Cost",
    "EndpointJudge",
    "Example",
    "Judge",
    "JudgeFailed",
    "LocalJudge",
    "Question",
    "Shown",
    "Sizes",
    "answers_in",
    "balanced_accuracy",
    "cost",
    "explanation_in",
    "explanation_question",
    "export_delphi",
    "identity",
    "judge_features",
    "judge_named",
    "ledger_in",
    "questions",
    "read_prompts",
    "scores",
    "shown_features",
]
