"""What a part of an experiment costs, as a record of its ledger."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from expander_theory.results import Ledger


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
        trials = sum(len(record["outcome"]) for record in ledger.records[known:] if "outcome" in record)
        if trials:
            seconds = {
                "seconds": round(time.monotonic() - begun, 2),
                "processor seconds": round(sum(os.times()[:4]) - sum(before[:4]), 2),
            }
            ledger.append({"part": part, "workers": workers, **seconds, "trials timed": trials})
