"""Files that commands write: none is overwritten by accident."""

import json
from pathlib import Path
from typing import Any

from expander_theory.base import InvalidFile
from expander_theory.results.files import atomic_write


def require_new(path: Path, force: bool) -> None:
    """Refuse to overwrite ``path`` unless ``force``."""
    if path.exists() and not force:
        raise InvalidFile(path, "exists already; choose another name or pass --force")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    atomic_write(path, json.dumps(value, indent=2).encode() + b"\n")
