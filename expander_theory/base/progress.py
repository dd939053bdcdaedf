"""Progress on standard error: one live line on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from tqdm import tqdm


def progress_bar(items: Iterable[Any] | None = None, *, show: bool = True, **options: Any) -> Any:
    """A ``tqdm`` bar with this project's defaults; ``options`` go to ``tqdm``."""
    live = sys.stderr.isatty()
    if live:
        options |= {"mininterval": 0.1, "dynamic_ncols": True}
    else:
        options |= {"mininterval": 15, "maxinterval": 60, "ncols": 120, "file": _Lines()}
    return tqdm(items, disable=not show, smoothing=0.05, **options)


class _Lines:
    """A log as tqdm's terminal: each state of the line that it would redraw is a line of its own."""

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class SweepBar:
    """The progress line of a sweep: trials done of those expected, trials/s, time left, ladders and cells at their end.

    What a schedule will still ask for is not known: open ladders are expected to take as many trials as those at
    their end took on average, and no fewer than they have asked for.
    """

    def __init__(self, ladders: int, cells: int, *, show: bool) -> None:
        self._ladders, self._cells = ladders, cells
        self._ended_ladders = self._ended_cells = self._ended_trials = self._asked = 0
        live = None if sys.stderr.isatty() else "{desc}: {percentage:3.0f} %, {n_fmt}/{total_fmt} trials, {rate_fmt}, "
        form = live and live + "{elapsed} gone, {remaining} left{postfix}"
        nothing_yet = 1e-9  # no line before the first trials
        self._bar = progress_bar(total=0, unit=" trials", desc="sweep", show=show, bar_format=form, delay=nothing_yet)

    def __enter__(self) -> SweepBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._bar.leave = self._asked > 0
        self._bar.close()

    def plan(self, asked: int, known: int) -> None:
        """A ladder asks for more trials, of which some are known from an earlier run."""
        self._asked += asked
        if not self._bar.disable:
            self._bar.initial += known
            self._bar.n += known
        self._retarget()

    def advance(self, trials: int) -> None:
        """Trials have been run."""
        self._bar.update(trials)

    def end(self, cells: int, trials: int) -> None:
        """A ladder of so many cells has come to its end after so many trials."""
        self._ended_ladders += 1
        self._ended_cells += cells
        self._ended_trials += trials
        self._retarget()

    def _retarget(self) -> None:
        mean = self._ended_trials / max(1, self._ended_ladders)
        still_open = self._ladders - self._ended_ladders
        self._bar.total = self._ended_trials + max(self._asked - self._ended_trials, round(still_open * mean))
        ends = f"ladders {self._ended_ladders}/{self._ladders}, cells {self._ended_cells}/{self._cells}"
        self._bar.set_postfix_str(ends, refresh=False)
