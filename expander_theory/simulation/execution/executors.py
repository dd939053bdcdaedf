"""Where blocks run: in this process, in worker processes, or on an executor that the user brings."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from expander_theory.base import ExpanderTheoryError, InvalidArgument, MissingResource, require

_ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
}


class ExecutorLost(ExpanderTheoryError):
    """The executor has ended or cannot run this project's code; what was finished is kept."""


class InlineExecutor(Executor):
    """Runs each call at once in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Workers:
    """An executor that can be replaced when one of its workers has died.

    Attributes:
        ahead: how many calls to have submitted at a time.
        owned: whether the executor was started here, and will be ended here.
    """

    def __init__(self, start: Callable[[], Executor], ahead: int, *, owned: bool, renewable: bool) -> None:
        self._start, self.owned, self._renewable = start, owned, renewable
        self._executor = start()
        self.ahead = ahead

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        """Submit one call.

        Raises:
            BrokenExecutor: a worker has died; :meth:`renew` it.
            ExecutorLost: it was shut down.
        """
        try:
            return self._executor.submit(call, *args)
        except BrokenExecutor:
            raise
        except RuntimeError as error:
            raise ExecutorLost(f"the executor takes no more work: {error}") from error

    def renew(self) -> None:
        """Replace the executor, ending what is left of it.

        Raises:
            ExecutorLost: it was given as an instance, which nobody here can make again.
        """
        if not self._renewable:
            raise ExecutorLost(
                f"a worker died, and with it the {type(self._executor).__name__}; what is finished is kept. "
                "Give a function that makes the executor, and it will be replaced"
            )
        self.stop(kill=True)
        self._executor = self._start()

    def stop(self, *, kill: bool) -> None:
        """End the executor if it was started here: at once, or after its calls."""
        if self.owned:
            self._executor.shutdown(wait=not kill, cancel_futures=kill)


@contextmanager
def open_workers(count: int, executor: Executor | Callable[[], Executor] | None = None) -> Iterator[Workers]:
    """Workers for the time of a ``with`` block; leaving it by an exception (Ctrl-C included) ends them at once.

    Args:
        count: how many calls run at a time: processes of one thread each, or this process for 1.
        executor: where to run instead: any ``concurrent.futures.Executor``, which is left open, or a function
            that makes one, which is called again when a worker has died, and shut down at the end.

    Raises:
        InvalidArgument: count below 1.
    """
    require(count >= 1, "workers", count, "must be at least 1")
    if isinstance(executor, Executor):
        given = executor
        count = max(count, getattr(given, "_max_workers", 1))
        workers = Workers(lambda: given, _AHEAD * count, owned=False, renewable=False)
    elif executor is not None:
        workers = Workers(executor, _AHEAD * count, owned=True, renewable=True)
    elif count == 1:
        workers = Workers(InlineExecutor, 1, owned=True, renewable=False)
    else:
        workers = Workers(lambda: processes(count), _AHEAD * count, owned=True, renewable=True)
    try:
        yield workers
    except BaseException:
        workers.stop(kill=True)
        raise
    workers.stop(kill=False)


_AHEAD = 4  # calls submitted for each that runs, so that no worker waits for this process


def processes(count: int) -> Executor:
    """Worker processes of one thread each, which leave when this process dies, however it does.

    A shutdown with ``cancel_futures`` ends them at once.
    """
    from loky import ProcessPoolExecutor

    class Processes(ProcessPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            # Starts workers where some are missing. A Ctrl-C reaches the whole process group; the parent alone is to
            # answer it, and the signals that are blocked here stay blocked in those that it starts.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return super().submit(fn, *args, **kwargs)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=True, kill_workers=cancel_futures)

    return Processes(count, env=_ONE_THREAD, timeout=20, initializer=_follow, initargs=(os.getpid(),))


def _follow(parent: int) -> None:
    """End this worker soon after its parent has: nobody would take its results, and it holds memory."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


_LOOK_SECONDS = 1.0


@contextmanager
def dask_executor(address: str, *, timeout: float = 10.0) -> Iterator[tuple[Executor, int]]:
    """The executor of a running dask cluster, and how many threads it has now.

    Args:
        address: of the scheduler, as ``tcp://host:8786``.
        timeout: seconds to wait for its answer.

    Raises:
        MissingResource: dask.distributed is not installed.
        InvalidArgument: nothing answers at the address in time, or the timeout is not positive.
    """
    require(timeout > 0, "scheduler-timeout", timeout, "must be more than 0 seconds")
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise MissingResource(
            "the dask executor needs dask.distributed: run `pip install 'expander-theory[dask]'`"
        ) from None
    _require_address(address)
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError) as error:
        allowed = f"no dask scheduler answers there within {timeout:g} s ({' '.join(str(error).split())})"
        raise InvalidArgument("scheduler", address, allowed) from None
    with client:
        nthreads: Any = client.nthreads()
        threads = sum(nthreads.values())
        if not threads:
            print(f"{address} has no worker yet: waiting for the first", file=sys.stderr)
        yield client.get_executor(pure=False), threads


def _require_address(address: str) -> None:
    """A client that was given nonsense complains a second time when it is collected: it is not made."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        usable = bool(parts.hostname) and parts.port is not None
    except ValueError:
        usable = False
    require(usable, "scheduler", address, "must be an address such as tcp://host:8786")


def died_with_worker(error: BaseException) -> bool:
    """Whether a call failed because its worker died, rather than by itself."""
    scheduler = sys.modules.get("distributed.scheduler")  # who has a dask executor has loaded it
    return isinstance(error, BrokenExecutor) or (scheduler is not None and isinstance(error, scheduler.KilledWorker))
