"""Progress bars on standard error: live on a terminal, a line now and then in a log."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(items: Iterable[Any] | None = None, *, show: bool = True, **options: Any) -> Any:
    """A ``tqdm`` bar with this project's defaults; ``options`` go to ``tqdm``."""
    live = sys.stderr.isatty()
    return tqdm(items, disable=not show, mininterval=0.1 if live else 15, dynamic_ncols=live, smoothing=0.05, **options)
