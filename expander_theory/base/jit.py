"""``numba.njit`` whose cache on disk is a help and never a condition.

Numba refuses to import a cached function where no folder for its cache can be written, ends in a bare OSError where the
disk is full, and fails for ever on a damaged entry. Here loops are then compiled without the cache, a warning names the
folder once, and a damaged entry is replaced.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import FunctionCache

ADVICE = "set NUMBA_CACHE_DIR to a folder that can be written (and has room)"

_HERE = os.path.dirname(__file__)


class CompileCacheWarning(UserWarning):
    """Loops are compiled anew in every process, which takes seconds; the results are the same."""


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile as ``numba.njit`` does, with a cache that may fail."""

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher: Any = numba.njit(**options)(function)
        if cache and hasattr(dispatcher, "enable_caching"):  # not with NUMBA_DISABLE_JIT
            try:
                dispatcher._cache = _ForgivingCache(function)
            except RuntimeError:  # numba found no folder
                _warn(f"compiled loops cannot be kept: neither {_HERE} nor the user's cache folder can be written")
        return dispatcher

    return compiled


class _ForgivingCache(FunctionCache):
    """Numba's cache of one function on disk."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a pickle that was cut short or altered raises almost anything
            _warn(
                f"damaged compiled loops in {self.cache_path} are replaced ({type(error).__name__}: {error})", advice=""
            )
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn(f"compiled loops cannot be kept in {self.cache_path} ({error.strerror})")


def _warn(problem: str, advice: str = f": {ADVICE}") -> None:
    kind = problem.partition(" in ")[0] if advice else problem  # folders differ by package: one line is enough
    if kind not in _said:
        _said.add(kind)
        warnings.warn(f"{problem}{advice}", CompileCacheWarning, stacklevel=2)


_said: set[str] = set()


def cache_folder() -> tuple[str | None, bool]:
    """The folder where compiled loops of this package are kept (None: nowhere), and whether it can be written."""
    try:
        place = FunctionCache(njit).cache_path
    except RuntimeError:
        return None, False
    return place, os.access(place, os.W_OK)
