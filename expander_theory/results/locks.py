"""One writer at a time: locks that the operating system takes back when their holder dies.

A lock is a file of its own beside what it guards (which may be replaced, or not there yet), named after where the path
leads to, so that links and spellings do not matter; it holds who has it. On file systems that cannot lock (some of
clusters) its mere existence is the lock: it is taken over from a dead process of this machine, and otherwise named in
the error, for a person to judge.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from expander_theory.base import InvalidFile
from expander_theory.results.files import naming

_CANNOT = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
_HELD = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)
_PATIENCE, _PAUSE = 0.2, 0.05  # seconds; `is_locked` may hold a lock for an instant


def lock_path(path: str | os.PathLike[str]) -> Path:
    """The lock file of a path."""
    real = Path(os.path.realpath(path))
    return real.with_name(f".{real.name}.lock")


@contextmanager
def locked(path: Path, doing: str, lock: Path | None = None) -> Iterator[None]:
    """Keep other processes out that want to write ``path``; makes its folder.

    Args:
        path: what is guarded; it need not exist.
        doing: for the error, as "is writing to this ledger".
        lock: the lock file, for a folder one inside it; default :func:`lock_path`.

    Raises:
        InvalidFile: another process holds the lock; names it.
        OSError: the folder cannot be made or written; names the folder or the path.
    """
    lock, deadline = lock or lock_path(path), time.monotonic() + _PATIENCE
    lock.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        while True:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                os.close(descriptor)
                if error.errno in _CANNOT:
                    descriptor = -1
                    break
                if error.errno not in _HELD:
                    raise
            if time.monotonic() > deadline:
                raise InvalidFile(path, f"another process {doing}{_by(_owner(lock))}")
            time.sleep(_PAUSE)
    if descriptor == -1:
        with _exclusive(path, lock.with_name(f"{lock.name}.soft"), doing):
            yield
        return
    try:
        with contextlib.suppress(OSError):  # on a full disk nobody learns our name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _signature(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


@contextmanager
def _exclusive(path: Path, marker: Path, doing: str) -> Iterator[None]:
    """A lock by a file that only one process can make."""
    if _is_left_behind(marker):
        marker.unlink(missing_ok=True)
    try:
        with naming(path):
            descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise InvalidFile(
            path,
            f"another process {doing}{_by(_owner(marker))}, as the lock file {marker} says, which is {_age(marker)} "
            "old. This file system cannot tell whether that process still lives: if it does not, delete the lock file",
        ) from None
    try:
        with naming(path):
            os.write(descriptor, _signature())
            os.close(descriptor)
        yield
    finally:
        marker.unlink(missing_ok=True)


@contextmanager
def held(descriptor: int, path: Path, doing: str) -> Iterator[None]:
    """Guard an open file itself, which other names (hard links) lead to as well; where it can be locked.

    Raises:
        InvalidFile: another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise InvalidFile(path, f"another process {doing}, under another name (a hard link)") from None
        if error.errno not in _CANNOT:
            raise
    yield  # closing the file gives it back


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether a process is writing now, as far as that can be told; never waits, and makes no file."""
    lock = lock_path(path)
    marker = lock.with_name(f"{lock.name}.soft")
    return _is_held(lock) or _is_held(Path(path)) or (marker.exists() and not _is_left_behind(marker))


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno in _HELD
    finally:
        os.close(descriptor)


def _signature() -> bytes:
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}).encode()


def _owner(lock: Path) -> dict[str, Any]:
    """Who holds it, as far as its file says."""
    try:
        found = json.loads(lock.read_bytes())
        return {"pid": int(found["pid"]), "host": str(found["host"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _by(owner: dict[str, Any]) -> str:
    return f" (process {owner['pid']} on {owner['host']})" if owner else ""


def _is_left_behind(marker: Path) -> bool:
    owner = _owner(marker)
    return bool(owner) and owner["host"] == socket.gethostname() and not psutil.pid_exists(owner["pid"])


def _age(marker: Path) -> str:
    try:
        seconds = max(0.0, time.time() - marker.stat().st_mtime)
    except OSError:
        return "an instant"
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
