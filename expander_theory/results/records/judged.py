"""Records of judges: what was asked, and how features scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expander_theory.results.records.base import Record
from expander_theory.results.typed import Count, Hex, Share


@dataclass(frozen=True, kw_only=True)
class AnswerRecord(Record):
    """One answer of a judge.

    Attributes:
        asked: SHA-256 of the judge and of all that it was shown.
        answer: its text.
    """

    KIND: ClassVar[str] = "answer"
    asked: Hex
    answer: str


@dataclass(frozen=True, kw_only=True)
class JudgedRecord(Record):
    """One feature's explanation and its scores, balanced accuracies; .5 is chance.

    Attributes:
        sae: name of the SAE.
        feature: its number.
        explanation: the judge's.
        detection: from the explanation, in which texts is it active? None where no answer could be read.
        fuzzing: from the explanation, are the marked tokens those on which it is active?
        unread: questions of both tests whose answer could not be read.
        questions: how many there were.
    """

    KIND: ClassVar[str] = "judged"
    sae: str
    feature: Count
    explanation: str
    detection: Share | None
    fuzzing: Share | None
    unread: Count
    questions: Count
