"""Features of several SAEs before one judge: explained, tested, every answer stored and none asked for twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expander_theory.base import generator, progress_bar
from expander_theory.results import AnswerRecord, JudgedRecord, Ledger
from sae_bridge.judging.examples import Shown, Sizes
from sae_bridge.judging.judges import Judge, asked_hash
from sae_bridge.judging.questions import Question, answers_in, explanation_in, explanation_question, questions, scores

EXPLAINED, ANSWERED = 120, 40
"""Tokens of an answer, at most."""


@dataclass(frozen=True)
class Cost:
    """What judging will take, before it begins.

    Attributes:
        questions: to be asked.
        tokens: of their prompts, exactly or about.
        answers: tokens of their answers, at most.
        known: questions whose answer is stored.
    """

    questions: int
    tokens: int
    answers: int
    known: int

    def __str__(self) -> str:
        known = f" ({self.known:,} more are answered already)" if self.known else ""
        return (
            f"{self.questions:,} questions{known}: about {self.tokens:,} tokens of prompts, at most "
            f"{self.answers:,} of answers"
        )


class Answers:
    """A judge with a memory on disk.

    Args:
        judge: who answers.
        ledger: open for appending; or None, where nothing is to be asked.
        known: answers from before, where there is no ledger open.
    """

    def __init__(self, judge: Judge, ledger: Ledger | None, known: Sequence[AnswerRecord] = ()) -> None:
        self.judge, self._ledger = judge, ledger
        stored = known if ledger is None else ledger.of(AnswerRecord)
        self._known = {record.asked: record.answer for record in stored}

    def knows(self, system: str, user: str, most: int) -> bool:
        """Whether a question was answered before."""
        return asked_hash(self.judge, system, user, most) in self._known

    def ask(self, system: str, user: str, most: int) -> str:
        """The answer, stored before it is returned."""
        asked = asked_hash(self.judge, system, user, most)
        if asked not in self._known:
            assert self._ledger is not None, "nothing is asked without a ledger"
            answer = self.judge.answer(system, user, most).encode(errors="replace").decode()
            self._ledger.append(AnswerRecord(asked=asked, answer=answer))
            self._known[asked] = answer
        return self._known[asked]


def identity(judge: Judge, prompts: Mapping[str, str], sizes: Sizes, about: Mapping[str, Any]) -> dict[str, Any]:
    """What a ledger of judging belongs to: judge, prompts, sizes, and the activations' own fields."""
    return {"kind": "judged features", **judge.identity, "prompts": dict(prompts), "sizes": vars(sizes), **about}


def cost(
    shown: Mapping[str, Sequence[Shown]], judge: Judge, prompts: Mapping[str, str], sizes: Sizes, answers: Answers
) -> Cost:
    """What :func:`judge_features` would ask; without an explanation yet, its tests are counted with a usual one."""
    count = tokens = most = 0
    met: set[str] = set()
    known: set[str] = set()
    usual = "a phrase of a dozen words that says when this one is active"
    for features in shown.values():
        for one in features:
            user = explanation_question(one)
            explained = answers.knows(prompts["explain"], user, EXPLAINED)
            phrase = explanation_in(answers.ask(prompts["explain"], user, EXPLAINED)) if explained else usual
            asked = [("explain", user, EXPLAINED)]
            asked += [(q.test, q.user, ANSWERED) for q in questions(one, phrase, sizes.at_once, sizes.seed)]
            for name, text, limit in asked:
                key = asked_hash(judge, prompts[name], text, limit)
                if answers.knows(prompts[name], text, limit):
                    known.add(key)
                elif key not in met or not explained:
                    count, most = count + 1, most + limit
                    tokens += judge.count(prompts[name], text)
                met.add(key)
    return Cost(count, tokens, most, len(known))


def judge_features(
    shown: Mapping[str, Sequence[Shown]], answers: Answers, prompts: Mapping[str, str], sizes: Sizes, ledger: Ledger
) -> list[JudgedRecord]:
    """Explain and test every feature. The judge does not learn whose feature it is, and they come in random order.

    Args:
        shown: features by the name of their SAE.
        answers: the judge; it may be stopped at any time and goes on where it stopped.
        prompts: see :func:`sae_bridge.judging.read_prompts`.
        sizes: how much is shown.
        ledger: gets a record of each feature.

    Raises:
        JudgeFailed: the judge gave no answer.
    """
    known = {(record.sae, record.feature, record.shown): record for record in ledger.of(JudgedRecord)}
    every = [(sae, one) for sae, features in shown.items() for one in features]
    order = generator(sizes.seed, "order of the features before the judge").permutation(len(every))
    todo = [every[i] for i in order if (every[i][0], every[i][1].feature, every[i][1].sha256) not in known]
    for sae, one in progress_bar(todo, unit="feature", desc="judge", show=bool(todo)):
        record = _judged(sae, one, answers, prompts, sizes)
        ledger.append(record)
        known[sae, one.feature, one.sha256] = record
    return [known[sae, one.feature, one.sha256] for sae, one in every]


def _judged(sae: str, shown: Shown, answers: Answers, prompts: Mapping[str, str], sizes: Sizes) -> JudgedRecord:
    explanation = explanation_in(answers.ask(prompts["explain"], explanation_question(shown), EXPLAINED))
    asked: list[tuple[Question, tuple[int, ...] | None]] = []
    for question in questions(shown, explanation, sizes.at_once, sizes.seed):
        answer = answers.ask(prompts[question.test], question.user, ANSWERED)
        asked.append((question, answers_in(answer, len(question.right))))
    found = scores(asked)
    return JudgedRecord(
        sae=sae,
        feature=shown.feature,
        shown=shown.sha256,
        explanation=explanation,
        detection=found["detection"],
        fuzzing=found["fuzzing"],
        unread=sum(said is None for _, said in asked),
        questions=len(asked),
    )


def ledger_in(folder: Path) -> Path:
    """Where a folder of judging keeps its records."""
    return folder / "ledger.jsonl"
