"""What a judge is asked: to explain, and two tests of the explanation; and what its answers mean."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import InvalidFile, generator
from sae_bridge.judging.examples import Example, Shown

Test = Literal["detection", "fuzzing"]
TESTS: tuple[Test, ...] = ("detection", "fuzzing")
PROMPTS = ("explain", *TESTS)
_SAID = re.compile(r"\[EXPLANATION\]:")
_LIST = re.compile(r"\[[^\[\]]*\]")
UNEXPLAINED = "(no explanation)"


@dataclass(frozen=True)
class Question:
    """One test question.

    Attributes:
        test: which test.
        feature: of which feature.
        user: the prompt.
        right: the right answers, 1 or 0, (texts,).
    """

    test: Test
    feature: int
    user: str
    right: tuple[int, ...]


def read_prompts(folder: Path | None = None) -> dict[str, str]:
    """The system prompts by name: those of this package, or ``explain.txt`` and so on of a folder.

    Raises:
        InvalidFile: one of them is missing, empty or no text.
    """
    found = {}
    for name in PROMPTS:
        path = (folder or files("sae_bridge.judging").joinpath("prompts")) / f"{name}.txt"
        try:
            found[name] = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidFile(path, f"cannot be read as a prompt: {error}") from None
        if not found[name]:
            raise InvalidFile(path, "is an empty prompt")
    return found


def explanation_question(shown: Shown) -> str:
    """The texts that a feature is explained from, marked, each with its marked tokens' activations from 1 to 10."""
    largest = max(float(example.acts.max(initial=0)) for example in shown.explain)
    lines = []
    for number, example in enumerate(shown.explain):
        marks = example.marks()
        levels = [max(1, math.ceil(10 * float(act) / largest)) for act in example.acts[marks]]
        tokens = [example.tokens[i] for i in np.flatnonzero(marks)]
        listed = ", ".join(f"({json.dumps(t, ensure_ascii=False)}: {v})" for t, v in zip(tokens, levels, strict=True))
        lines.append(f"Text {number}: {example.text(marks)}\nActivations: {listed}")
    return "\n\n".join(lines)


def explanation_in(answer: str) -> str:
    """What an answer gives as the explanation: after its last ``[EXPLANATION]:``, else its last line with text."""
    parts = _SAID.split(answer)
    said = len(parts) > 1
    lines = parts[-1].strip().splitlines()
    kept = [line.strip() for line in lines if line.strip()]
    return (kept[0] if said else kept[-1]) if kept else UNEXPLAINED


def questions(shown: Shown, explanation: str, at_once: int, seed: int) -> list[Question]:
    """The questions of both tests on one feature; marks of texts without activity are wrong by construction."""
    found = []
    for test in TESTS:
        texts = [_tested(test, shown, i, example, seed) for i, example in enumerate(shown.test)]
        for start in range(0, len(texts), at_once):
            lines = "\n".join(f"Text {i}: {text}" for i, text in enumerate(texts[start : start + at_once]))
            right = tuple(int(example.active) for example in shown.test[start : start + at_once])
            user = f"Explanation of the feature: {explanation}\n\n{lines}"
            found.append(Question(test, shown.feature, user, right))
    return found


def _tested(test: Test, shown: Shown, place: int, example: Example, seed: int) -> str:
    if test == "detection":
        return example.text()
    if example.active:
        return example.text(example.marks())
    rng = generator(seed, f"wrong marks of feature {shown.feature}, text {place}")
    count = int(rng.choice([one.marks().sum() for one in shown.test if one.active]))  # counts give nothing away
    able = np.flatnonzero(example.kept)
    marks = np.zeros(len(example.tokens), bool)
    marks[rng.choice(able, min(len(able), count), replace=False)] = True
    return example.text(marks)


def answers_in(answer: str, count: int) -> tuple[int, ...] | None:
    """The last list of ``count`` ones and zeros in an answer; None where it holds no such list."""
    for part in reversed(_LIST.findall(answer)):
        try:
            values = ast.literal_eval(part.replace("true", "True").replace("false", "False"))
        except (ValueError, SyntaxError):
            continue
        if isinstance(values, list) and len(values) == count and all(v in (0, 1) for v in values):
            return tuple(int(v) for v in values)
    return None


def balanced_accuracy(right: Sequence[int], said: Sequence[int]) -> float | None:
    """Mean of the shares of ones and of zeros that were named rightly; None without both kinds. 0.5 is chance."""
    truth: NDArray[np.int64] = np.asarray(right)
    given = np.asarray(said)
    if not (truth == 1).any() or not (truth == 0).any():
        return None
    return float(((given[truth == 1] == 1).mean() + (given[truth == 0] == 0).mean()) / 2)


def scores(asked: Sequence[tuple[Question, tuple[int, ...] | None]]) -> Mapping[Test, float | None]:
    """Balanced accuracy of one feature by test, over the questions whose answer could be read."""
    found: dict[Test, float | None] = {}
    for test in TESTS:
        pairs = [(q.right, said) for q, said in asked if q.test == test and said is not None]
        right = [value for one, _ in pairs for value in one]
        given = [value for _, said in pairs for value in said]
        found[test] = balanced_accuracy(right, given) if pairs else None
    return found
