"""Where trials run: in this process, or in worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from expander_theory.errors import require

_ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
}


class InlineExecutor(Executor):
    """Runs each call at once in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def workers(count: int) -> Iterator[Executor]:
    """An executor with ``count`` processes of one thread each; 1 runs in this process.

    Leaving the block by an exception (Ctrl-C included) ends the workers at once.

    Raises:
        InvalidArgument: count below 1.
    """
    require(count >= 1, "workers", count, "must be at least 1")
    if count == 1:
        yield InlineExecutor()
        return
    from loky import ProcessPoolExecutor

    # Idle workers leave by themselves, so none stays behind when this process is killed.
    executor = ProcessPoolExecutor(max_workers=count, env=_ONE_THREAD, timeout=20)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=True, kill_workers=True)
        raise
    executor.shutdown(wait=True)


def default_workers() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
