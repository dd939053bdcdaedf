"""``expander doctor``."""

import importlib.metadata
import platform
import re
import sys
from dataclasses import dataclass

from expander_theory.results import table

_PACKAGE = "expander-theory"


@dataclass(frozen=True)
class Doctor:
    """Print what is installed, and how to install what is missing.

    Versions, cores, memory, caches, GPU, default model and text.
    """

    def run(self) -> None:
        import psutil

        from expander_theory.base import ADVICE, cache_folder, default_workers

        memory = psutil.virtual_memory()
        rows = [
            ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", "ok"),
            ("cores", str(default_workers()), "ok"),
            ("memory", f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f}", "ok"),
        ]
        place, writable = cache_folder()
        rows.append(("compiled loops", place or "no folder", "ok" if writable else f"not kept: {ADVICE}"))
        rows += [_package(name, f"pip install '{_PACKAGE}'") for name in (_PACKAGE, *_requirements())]
        rows += [_package(name, f"pip install '{_PACKAGE}[sae]'") for name in _requirements("sae")]
        rows += _above()
        print(f"interpreter: {sys.executable}\n")
        print(table([{"what": what, "found": found, "status": status} for what, found, status in rows]))
        missing = [status for _, _, status in rows if status.startswith("run: ")]
        print(
            "\nEverything is there." if not missing else f"\n{len(missing)} missing; the status column has the command."
        )


def _requirements(*extras: str) -> list[str]:
    """The names of the packages that an installation with these extras asks for, as its own metadata lists them."""
    found = []
    for line in importlib.metadata.requires(_PACKAGE) or []:
        name, _, marker = line.partition(";")
        extra = marker.partition("extra ==")[2].strip(" \"'")
        if extra in extras or not (extras or extra):
            found.append(re.split(r"[^\w.-]", name.strip())[0])
    return [name for name in found if name != _PACKAGE]


def _package(name: str, command: str) -> tuple[str, str, str]:
    try:
        return name, importlib.metadata.version(name), "ok"
    except importlib.metadata.PackageNotFoundError:
        return name, "missing", f"run: {command}"


def _above() -> list[tuple[str, str, str]]:
    """What the packages above the core report of themselves (found by entry point)."""
    rows = []
    for entry in importlib.metadata.entry_points(group="expander.doctor"):
        try:
            rows += entry.load()()
        except ModuleNotFoundError as error:
            rows.append((entry.name, f"unknown without {error.name}", f"run: pip install '{_PACKAGE}[sae]'"))
    return rows
