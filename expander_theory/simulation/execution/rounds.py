"""How far one ladder of a sweep is: the schedule's rounds, and what is still missing of the present one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from expander_theory.simulation.execution._dispatch import Answer, Failure
from expander_theory.simulation.schedules.ladders import Ladder, Schedule
from expander_theory.simulation.tasks import Task
from expander_theory.simulation.trials import Block


@dataclass
class Work:
    """Missing blocks of one task, in order."""

    task: Task
    blocks: deque[int]


@dataclass
class Rounds:
    """One ladder on its way.

    A round is what the schedule adds at a time. It is shown the blocks of all rounds before, and no others, so what
    it decides depends on neither the order in which blocks come nor what else is known.

    Attributes:
        tasks: by k.
        known: by k and block, what is known from the ledger and from this run.
        asked: by k, blocks that the schedule wants so far.
        missing: blocks of this round that are still to come.
        failures: blocks of this round that were given up: the ladder stops after it.
        over: whether the ladder has come to its end, resolved or failed.
        seconds: by k, what a block took last.
    """

    ladder: Ladder
    schedule: Schedule
    tasks: dict[int, Task]
    known: dict[int, dict[int, Block]]
    asked: dict[int, int] = field(default_factory=dict)
    missing: int = 0
    failures: list[Answer] = field(default_factory=list)
    over: bool = False
    seconds: dict[int, float] = field(default_factory=dict)

    @classmethod
    def start(cls, ladder: Ladder, schedule: Schedule, known: Mapping[str, Mapping[int, Block]]) -> Rounds:
        """A ladder before its first round; ``known`` by task id."""
        tasks = {k: ladder.task(k) for k in ladder.ks}
        return cls(ladder, schedule, tasks, {k: dict(known.get(task.id, {})) for k, task in tasks.items()})

    def next_round(self) -> list[Work]:
        """What to run next; empty when the ladder is over.

        Rounds of which everything is known already are passed over.
        """
        while not self.failures:
            seen = {k: [self.known[k][b].outcome for b in range(count)] for k, count in self.asked.items()}
            wanted = self.schedule.wanted(self.ladder, {k: seen.get(k, []) for k in self.ladder.ks})
            asked = {k: max(self.asked.get(k, 0), wanted.get(k, 0)) for k in self.ladder.ks}
            if asked == self.asked:
                break
            self.asked = asked
            work = [
                Work(self.tasks[k], deque(b for b in range(count) if b not in self.known[k]))
                for k, count in asked.items()
            ]
            self.missing = sum(len(item.blocks) for item in work)
            if self.missing:
                return [item for item in work if item.blocks]
        self.over = True
        return []

    def settle(self, answer: Answer) -> None:
        """Take what became of one block."""
        self.missing -= 1
        if isinstance(answer.result, Failure):
            self.failures.append(answer)
        else:
            self.known[answer.task.k][answer.block] = answer.result
            self.seconds[answer.task.k] = answer.seconds

    def block_seconds(self, k: int) -> float | None:
        """What a block is expected to take, by the nearest k that was tried: rather too much than too little."""
        if not self.seconds:
            return None
        nearest = min(self.seconds, key=lambda tried: abs(tried - k))
        return self.seconds[nearest] * max(1, k / nearest) ** 2

    def counted(self) -> dict[int, dict[int, Block]]:
        """The blocks that the schedule asked for and got, by k."""
        return {
            k: {b: self.known[k][b] for b in range(count) if b in self.known[k]}
            for k, count in self.asked.items()
            if count
        }

    @property
    def trials(self) -> tuple[int, int]:
        """Trials done, and asked for so far."""
        size = self.ladder.base.block_size
        asked = sum(self.asked.values())
        return (asked - self.missing) * size, asked * size
