"""What ``expander --help`` prints: the commands at hand, grouped, a line each.

Nothing of a command is imported: whether its package is there is asked of the import system, and what it does is the
first sentence of its class's docstring, read from the source.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

WIDTH = 100
"""Columns of the longest line."""

GROUPS: Mapping[str, Sequence[str]] = {
    "Dictionaries": ("build", "measure"),
    "Recovery and sweeps": ("recover", "sweep", "figures", "ledger"),
    "Theory": ("certify", "check-certificate", "theorems"),
    "Sparse autoencoders": ("fetch", "sae"),
    "The paper": (
        *("reproduce", "report", "certified", "synthetic-study", "phase-boundary", "compare-solvers", "coverage"),
        "experiment",
    ),
    "This installation": ("doctor",),
}
"""What one wants to do, and the commands for it: a name, or the first word of several; a whole name goes first."""

_OTHERS = "Others"
_CAMPAIGN = ("experiments", "paper_figures")
_NEEDS = {"sae_bridge": ("torch",)}


def overview(commands: Mapping[str, EntryPoint], prefix: str = "") -> str:
    """The commands whose packages are installed, by group; of those that are not, what they need.

    Args:
        commands: entry points by name.
        prefix: list only this command and those that begin with this word.
    """
    word = "[COMMAND]" if prefix in commands else "COMMAND"
    lines = [f"usage: expander {prefix + ' ' if prefix else ''}{word} [OPTIONS]"]
    for group, names in _grouped(name for name in commands if _belongs(name, prefix)).items():
        missing = {name: package for name in names if (package := missing_package(commands[name])) is not None}
        shown = [name for name in names if name not in missing]
        needs = "; ".join(dict.fromkeys(_needs(package) for package in missing.values()))
        lines += ["", f"{group}{f' ({needs})' if needs else ''}" + (":" if shown else "")]
        width = max(map(len, shown), default=0)
        lines += [f"  {name:<{width}}  {first_sentence(commands[name])}".rstrip() for name in shown]
    return "\n".join(
        [*lines, "", "`expander COMMAND --help` explains the options; `expander --version` prints the version."]
    )


def group_of(name: str) -> str:
    """The group of a command."""
    for key in (name, name.split()[0]):
        for group, names in GROUPS.items():
            if key in names:
                return group
    return _OTHERS


def missing_package(entry: EntryPoint) -> str | None:
    """The first package that a command needs and that is not installed; nothing is imported to find out."""
    top = entry.value.partition(":")[0].partition(".")[0]
    return next((package for package in (top, *_NEEDS.get(top, ())) if find_spec(package) is None), None)


def remedy(package: str) -> str:
    """What to do about a package that is not there."""
    if package.split(".")[0] in _CAMPAIGN:
        return "run it from a checkout of the project, installed with `pip install -e '.[sae]'`"
    return "run `pip install 'expander-theory[sae]'`"


def refusal(package: str) -> str:
    """Why a command whose import did not find this package, or module of one, does not run, in one line."""
    if "." in package and find_spec(package.split(".")[0]) is not None:
        return f"{package} is not there: the commands of another version are registered, install the project again"
    if package.split(".")[0] in _CAMPAIGN:
        return f"this command belongs to the paper's campaign and needs a checkout: {remedy(package)}"
    return f"this command needs the package {package}: {remedy(package)}"


def _needs(package: str) -> str:
    needed = "a checkout" if package in _CAMPAIGN else package
    return f"needs {needed}: {remedy(package)}"


def _belongs(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix} ")


def _grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by group, both in the order of :data:`GROUPS`; those of one first word by the alphabet."""
    groups: dict[str, list[str]] = {group: [] for group in (*GROUPS, _OTHERS)}
    for name in sorted(names):
        groups[group_of(name)].append(name)
    for group, known in GROUPS.items():
        order = {key: place for place, key in enumerate(known)}
        groups[group].sort(key=lambda name: order[name if name in order else name.split()[0]])
    return {group: found for group, found in groups.items() if found}


def first_sentence(entry: EntryPoint) -> str:
    """What a command does, from the docstring of its class; empty where there is no source or no docstring."""
    module, _, name = entry.value.partition(":")
    text = " ".join(_docstrings(module).get(name, "").split("\n\n")[0].split())
    return re.split(r"(?<=[.?!])\s(?=[^a-z])", text, maxsplit=1)[0]


@lru_cache
def _docstrings(module: str) -> dict[str, str]:
    """The docstrings of the classes of a module, by name."""
    path = _source(module)
    if path is None:
        return {}
    classes = (node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef))
    return {node.name: inspect.cleandoc(ast.get_docstring(node) or "") for node in classes}


def _source(module: str) -> Path | None:
    """The file of a module, found from its top package: finding a deeper one would import its parents."""
    top, *words = module.split(".")
    found = find_spec(top)
    for folder in (found.submodule_search_locations or ()) if found else ():
        for path in (Path(folder, *words).with_suffix(".py"), Path(folder, *words, "__init__.py")):
            if path.is_file():
                return path
    return None
