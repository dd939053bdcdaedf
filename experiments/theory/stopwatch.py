"""What a part of an experiment costs, as a record of its ledger."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from expander_theory.results import BlockRecord, Ledger, TimingRecord, records_of


@contextmanager
def timed(ledger: Ledger, part: str, workers: int) -> Iterator[None]:
    """Record seconds and processor seconds of a ``with`` block, and the trials that it added to the (open) ledger.

    Processor seconds are those of this process and of the worker processes that have ended in the block. A block that
    is interrupted is recorded too, so that the records of a part add up over its resumptions; one that adds no trials
    is not.
    """
    known, begun, before = len(ledger.records), time.monotonic(), os.times()
    try:
        yield
    finally:
        trials = sum(len(record.outcome) for record in records_of(ledger.records[known:], BlockRecord))
        if trials:
            seconds, spent = time.monotonic() - begun, sum(os.times()[:4]) - sum(before[:4])
            ledger.append(TimingRecord(part, workers, round(seconds, 2), round(spent, 2), trials))
