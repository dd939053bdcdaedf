"""Stand-ins for ``run_block`` that fail in worker processes; importable there by name."""

import os
import signal
import time
from pathlib import Path

from expander_theory.simulation.trials import Block, Task, run_block

POISONED = (5, 1)
"""(k, block) that fail."""


def exits(task: Task, block: int) -> Block:
    """The poisoned block ends its process."""
    if (task.k, block) == POISONED:
        os._exit(3)
    return run_block(task, block)


def raises(task: Task, block: int) -> Block:
    """The poisoned block raises."""
    if (task.k, block) == POISONED:
        raise ValueError("poison")
    return run_block(task, block)


def dies_at_first(task: Task, block: int) -> Block:
    """The poisoned block kills its process, but not a second time (a file remembers)."""
    mark = Path(os.environ["TEST_MARK"])
    if (task.k, block) == POISONED and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_block(task, block)


def raises_at_first(task: Task, block: int) -> Block:
    """Every block raises until a file has as many lines as blocks that raised twice."""
    mark = Path(os.environ["TEST_MARK"]) / f"{task.id}-{block}"
    if not mark.exists():
        mark.touch()
        raise OSError("network hiccup")
    return run_block(task, block)


def slow(task: Task, block: int) -> Block:
    """Slow enough to be interrupted."""
    time.sleep(0.05)
    return run_block(task, block)
