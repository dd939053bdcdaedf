"""Peak memory of a call, above what the process held when it began."""

from __future__ import annotations

import ctypes
import gc
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


def method() -> str:
    """How :func:`peak_bytes` measures here."""
    if sys.platform == "linux" and CLEAR.exists():
        return "resident memory (VmHWM, reset before the call)"
    return "tracemalloc: what NumPy and Python allocate, without that of C++ code"


def peak_bytes(work: Callable[[], object]) -> int:
    """Run ``work``; the peak of the memory held during it, minus what was held before."""
    gc.collect()
    if sys.platform == "linux" and CLEAR.exists():
        _return_freed_memory()
        before = _resident("VmRSS")
        CLEAR.write_text(RESET_PEAK)
        work()
        return max(0, _resident("VmHWM") - before)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _resident(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _return_freed_memory() -> None:
    """Pages that the allocator keeps for reuse would hide what the call needs."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
