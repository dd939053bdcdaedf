"""The next window of a stream, made in a thread while the current one is used."""

from __future__ import annotations

import threading
from collections.abc import Callable

from torch import Tensor

Check = Callable[[], None]
"""Called between two pieces of work; raises where the rest is not wanted any more."""


def never() -> None:
    """The check of work that nothing cancels."""


class _Cancelled(Exception):
    pass


class Ahead:
    """The rows of one window, on their way.

    Args:
        window: its number.
        load: makes the rows (rows, m), and calls the check that it is given often.
    """

    def __init__(self, window: int, load: Callable[[Check], Tensor]) -> None:
        self.window = window
        self._cancelled = threading.Event()
        self._found: Tensor | BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(load,), name=f"window {window}", daemon=True)
        self._thread.start()

    def _run(self, load: Callable[[Check], Tensor]) -> None:
        try:
            self._found = load(self._check)
        except BaseException as error:  # whoever asks for the rows raises it
            self._found = error

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise _Cancelled

    def rows(self) -> Tensor:
        """The rows, once they are there; raises what making them raised."""
        self._thread.join()
        if isinstance(self._found, BaseException):
            raise self._found
        assert self._found is not None
        return self._found

    def cancel(self) -> None:
        """Give the rows up; returns when the thread has ended."""
        self._cancelled.set()
        self._thread.join()
