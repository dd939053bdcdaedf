"""Which code, packages and machine results come from, as JSON."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("expander-theory", "numpy", "scipy", "numba", "llvmlite", "networkx", "python-flint", "hypothesis"),
    *("torch", "transformers"),
)  # those whose version may show in a result


def provenance() -> dict[str, Any]:
    """Time (UTC), command line, git commit, versions of Python and of packages, platform and processor.

    ``commit`` ends in "-dirty" where a tracked file differs from it, and is None outside a clone of this project.
    All but the time describes the process, so it is found out once.
    """
    return {"time": datetime.now(UTC).isoformat(timespec="seconds"), "arguments": _command(), **_environment()}


def _command() -> list[str]:
    """The command line; of the program only its name, for the folder that it lies in says nothing about a result."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


@cache
def _environment() -> dict[str, Any]:
    return {
        "commit": _commit(Path(__file__)),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "processor": _processor(),
    }


def _commit(file: Path) -> str | None:
    """The commit checked out around a file that git tracks: a repository that merely holds the environment in which
    the project is installed does not count."""
    git = ["git", "-C", str(file.parent)]
    quiet = {"stderr": subprocess.DEVNULL, "env": {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}, "timeout": 10}
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", file.name], check=True, stdout=subprocess.DEVNULL, **quiet)
        named = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(named, check=True, stdout=subprocess.PIPE, text=True, **quiet).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
