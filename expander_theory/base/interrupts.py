"""Ctrl-C and SIGTERM taken at a place where the work is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the user has asked to stop, and the end that is due then.

    Attributes:
        asked: whether a signal has come.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._at_once = False

    @property
    def asked(self) -> bool:
        return self._signal is not None

    def now(self) -> NoReturn:
        """End as the signal would have ended it: KeyboardInterrupt, or SystemExit with 143 for SIGTERM."""
        if self._signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it a signal ends at once, as :meth:`now` does: for waiting, in which nothing can be torn."""
        self._at_once = True
        try:
            if self.asked:  # it came just before
                self.now()
            yield
        finally:
            self._at_once = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        again, self._signal = self.asked, self._signal or number
        if again or self._at_once:
            self.now()


@contextmanager
def stopping() -> Iterator[Stop]:
    """Take the first Ctrl-C or SIGTERM as a wish, to be asked for by ``asked``; the second one ends at once.

    Where another handler than Python's own is set, or outside the main thread, signals do what they did.
    """
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, stop._take)
    try:
        yield stop
        if stop.asked:  # it came after the last time that the work asked
            stop.now()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
